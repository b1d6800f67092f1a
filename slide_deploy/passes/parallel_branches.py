"""Merge sums and chains of convolutions of one value into one convolution.

    (W1 * x + b1) + (W2 * x + b2)  =  (W1 + W2) * x + (b1 + b2)
    W2 * (W1 * x + b1) + b2        =  (W2 W1) * x + (W2 b1 + b2)

Smaller kernels are embedded in the largest one, tap by tap (``branches.shapes``,
``branches.kernels``).

Looks for
    sums (``add``, ``sub``, the sum or mean of a stack) of two or more terms, and chains of two or
    more operators, that are convolutions of one value. These are convolutions over one to three
    axes with any groups, strides and dilations; batch normalisation in evaluation mode; average
    pooling that counts its padding; factors and biases per channel; zero padding and cropping at
    the ends of feature maps; and the value itself. Two values count as the same if only operators
    that change nothing lie between them, or if the same value is computed twice.

Refuses, with a reason
    values with other readers, which would have to be computed anyway; convolutions whose weights
    or factors depend on the input, that are transposed, or whose padding is not zero; batch
    normalisation with the statistics of the batch; different strides; zero padding around the
    result of a bias or of a kernel with several taps; and merges that would need more
    multiplications than the original operators (``branches.plan``).

Proves
    each merged convolution against the operators that it replaces, in float64 on random feature
    maps with borders. The pass refuses a merge, and reports the figure, if the error exceeds
    ``MAX_ERROR``, or if rounding the weights to the program's type costs more than that type costs
    anyway.
"""

from torch import ops
from torch.fx import Node

from slide_deploy.branches import refusals
from slide_deploy.branches.kernels import Kernel
from slide_deploy.branches.operators import OperatorSteps
from slide_deploy.branches.plan import Merge, merged, plan
from slide_deploy.branches.proof import is_small, measure
from slide_deploy.branches.steps import BranchStep, is_same
from slide_deploy.branches.terms import Term, TermValue, Values
from slide_deploy.passes.report import PassReport
from slide_deploy.program.constants import Constants
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of

# The algebra is exact. Float64 leaves an error of 1e-14 of the largest value.
MAX_ERROR = 1e-11

_OPERATORS = {1: ops.aten.conv1d.default, 2: ops.aten.conv2d.default, 3: ops.aten.conv3d.default}
_NAMES = {
    "convolution": "convolution",
    "normalisation": "normalisation",
    "pooling": "average pooling",
    "factor": "factor",
}


def rewrite(editor: Editor, report: PassReport) -> None:
    """Merge the sums and chains of convolutions in a program."""
    rewriting = _Rewriting(editor)
    rewriting.all()
    # The program is rewritten from its end, but reported from its beginning.
    report.changes += reversed(rewriting.report.changes)
    report.refusals += reversed(rewriting.report.refusals)


class _Rewriting:
    def __init__(self, editor: Editor) -> None:
        self.editor, self.report = editor, PassReport("")
        self.nodes = list(editor.program.graph.nodes)
        self.constants = Constants(editor.program)
        self.values = Values(OperatorSteps(self.constants), self.nodes, merged)
        self.gone: set[Node] = set()

    def all(self) -> None:
        # Going backwards sees a value as part of the largest sum that it belongs to.
        for node in reversed(self.nodes):
            is_open = node in self.values.needed and node not in self.gone
            if is_open and not self.constants.holds(node) and self.values.found(node) is not None:
                self._rewrite(node, self.values[node])

    def _rewrite(self, node: Node, value: TermValue) -> None:
        made: list[Node] = []
        done: set[int] = set()
        for merge in plan(value, self.values):
            new = self._merged(node, value, merge)
            if new is not None:
                made.append(new)
                done |= set(merge.terms)
                self.gone |= merge.inner
        left = [term for index, term in enumerate(value.terms) if index not in done]
        if made:
            self.gone |= value.spine
            new = self._sum(node, made, left)
            self.editor.replace(node, new)
            while len(new.users) == 1 and is_same(user := next(iter(new.users))):
                self.editor.replace(user, new)
                user.args = (node, *user.args[1:])
        elif len(value.terms) == 1:
            self._refuse(node, refusals.of_chain(node, self.values))
        if len(value.terms) > 1:
            self._refuse(node, refusals.of_sum(value.terms, left, self.values))

    def _refuse(self, node: Node, why: str | None) -> None:
        if why is not None:
            self.report.refuse(layer_of(node), why)

    def _merged(self, node: Node, value: TermValue, merge: Merge) -> Node | None:
        """Write the merged convolution after proving it; None if it is refused."""
        kernel = merge.kernel()
        is_all = len(merge.terms) == len(value.terms)
        terms = [value.terms[each] for each in merge.terms]
        parts = [(node, 1.0)] if is_all else [(each.node, each.factor) for each in terms]
        measured = measure(parts, merge.source, kernel, self.values, self.constants)
        if not measured.error <= MAX_ERROR:
            reason = f"the merged convolution differs by {measured.error:.1e} in float64"
            self._refuse(node, reason)
            return None
        if not is_small(measured, node.meta["val"].dtype):
            self._refuse(
                node,
                f"rounding the weights of the merged convolution costs {measured.rounding:.1e}, "
                f"more than the original layers lose ({measured.before:.1e})",
            )
            return None
        steps = self._steps(merge.inner | (value.spine if is_all else frozenset()))
        layer = layer_of(node if len(value.terms) > 1 else steps[0][0])
        names = tuple(dict.fromkeys(layer_of(each) for each, _ in steps))
        what = _what([step.role for _, step in steps])
        self.report.change(layer, what, measured.error, measured.rounding, names)
        return self._convolution(node, merge.source, kernel)

    def _steps(self, nodes: frozenset[Node]) -> list[tuple[Node, BranchStep]]:
        """The operators among some nodes that become part of a convolution, in program order."""
        found = ((node, self.values.found(node)) for node in self.nodes if node in nodes)
        return [
            (node, step) for node, step in found if isinstance(step, BranchStep) and step.is_part
        ]

    def _convolution(self, node: Node, source: Node, kernel: Kernel) -> Node:
        shape, like = kernel.shape, node.meta["val"]
        weight = self.editor.constant(kernel.weight.to(like.device, like.dtype), "merged_weight")
        bias = None
        if kernel.bias.any():
            bias = self.editor.constant(kernel.bias.to(like.device, like.dtype), "merged_bias")
        settings = (list(shape.stride), list(shape.before), list(shape.dilation), shape.groups)
        operator = _OPERATORS[len(shape.taps)]
        return self.editor.insert(node, operator, source, weight, bias, *settings)

    def _sum(self, node: Node, made: list[Node], left: list[Term]) -> Node:
        """The sum of the new convolutions and of the remaining terms."""
        total, *others = made
        for each in others:
            total = self.editor.insert(node, ops.aten.add.Tensor, total, each)
        for term in left:
            given = (total, term.node)
            if term.factor == -1:
                total = self.editor.insert(node, ops.aten.sub.Tensor, *given)
            elif term.factor == 1:
                total = self.editor.insert(node, ops.aten.add.Tensor, *given)
            else:
                total = self.editor.insert(node, ops.aten.add.Tensor, *given, alpha=term.factor)
        return total


def _what(roles: list[str]) -> str:
    """Describe a merge, as in "3 convolutions and 1 normalisation became one convolution"."""
    counts = [
        f"{roles.count(role)} {name}{'s' if roles.count(role) > 1 else ''}"
        for role, name in _NAMES.items()
        if role in roles
    ]
    *front, last = counts
    return f"{', '.join(front)}{' and ' if front else ''}{last} became one convolution"
