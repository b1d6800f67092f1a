"""Rewrite tokens between convolutions as NCHW feature maps.

Some runtimes, such as ONNX Runtime, keep the feature maps between convolutions in a layout with
blocks of channels. They leave that layout where a feature map becomes tokens and return to it
where tokens become a feature map, at the cost of several passes over memory each time. The
operators in between work in either layout: a projection of tokens is a 1x1 convolution, sums and
activations do not depend on the layout, and a normalisation is a few convolutions
(``layouts.normalisation``).

The pass looks for operators on (batch, H, W, C) or (batch, H*W, C) that transposes connect with
feature maps. A minimum cut (``layouts.stretches``) selects the operators to rewrite. Tokens remain
tokens if the rewritten program would need as many transposes as before. The pass leaves feature
maps with open height or width, and operators that mix positions, such as attention between tokens.
"""

from collections import Counter

from slide_deploy.layouts.nchw import NchwWriter
from slide_deploy.layouts.roles import agreeing, feature_map_sizes, role_of
from slide_deploy.layouts.stretches import channels_first
from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of

# The kinds of operators that disappear when they are rewritten.
_VANISHING = {"enter", "rows"}


def rewrite(editor: Editor, report: PassReport) -> None:
    """Rewrite stretches of tokens between convolutions as feature maps."""
    nodes = list(editor.program.graph.nodes)
    weights = {node: held for node in nodes if (held := editor.weight(node)) is not None}
    roles = {node: role for node in nodes if (role := role_of(node, weights)) is not None}
    if not any(role.kind in ("enter", "leave") for role in roles.values()):
        return
    sizes = feature_map_sizes(roles)
    roles = agreeing(roles, sizes)
    first = channels_first(roles, sizes)
    NchwWriter(editor, roles, sizes, first, weights).write()
    changed = [node for node in nodes if node in first]
    written = [node for node in changed if roles[node].kind not in _VANISHING]
    if changed and not written:
        report.change(layer_of(changed[-1]), "a transpose and its inverse were removed")
    layers = Counter(map(layer_of, written))
    for layer, count in layers.items():
        what = f"{count} operator{'s' if count > 1 else ''} rewritten for NCHW feature maps"
        report.change(layer, what)
