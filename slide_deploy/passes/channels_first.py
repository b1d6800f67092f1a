"""Tokens between convolutions written on maps, the channels first.

A runtime that keeps maps between convolutions in blocks of channels, as ONNX Runtime does, leaves
that layout where a map becomes tokens, and enters it again where they become a map: several passes
each. What stands between works on either: a projection of tokens is a convolution of 1x1, sums and
activations do not care, a normalisation is a few convolutions (``layouts.normalisation``), and
patch merging is a convolution in steps.

Looked for: operators on (batch, H, W, C) or (batch, H*W, C) that transposes connect with maps.
Which of them are rewritten is a minimum cut (``layouts.stretches``), so that tokens stay tokens
where as many transposes would be needed as before. Left alone: maps whose height and width are
open, and operators that mix positions, such as an attention between tokens.
"""

from collections import Counter

from slide_deploy.layouts.maps import MapWriter
from slide_deploy.layouts.roles import agreeing, map_sizes, role_of
from slide_deploy.layouts.stretches import channels_first
from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of

# Of these no operator is left.
_VANISHING = {"enter", "rows"}


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write stretches of tokens between convolutions on maps; see above."""
    nodes = list(editor.program.graph.nodes)
    weights = {node: held for node in nodes if (held := editor.weight(node)) is not None}
    roles = {node: role for node in nodes if (role := role_of(node, weights)) is not None}
    if not any(role.kind in ("enter", "leave") for role in roles.values()):
        return
    sizes = map_sizes(roles)
    roles = agreeing(roles, sizes)
    first = channels_first(roles, sizes)
    MapWriter(editor, roles, sizes, first, weights).write()
    changed = [node for node in nodes if node in first]
    written = [node for node in changed if roles[node].kind not in _VANISHING]
    if changed and not written:
        report.change(layer_of(changed[-1]), "transposes there and back are gone")
    layers = Counter(map(layer_of, written))
    for layer, count in layers.items():
        report.change(layer, f"{count} operator{'s' if count > 1 else ''} on maps")
