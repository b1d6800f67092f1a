"""Chains of reshapes and permutations in as few operators and axes as they need.

    (B, H, W, C) -> (B, H/w, w, W/w, w, C) -> permute (0, 1, 3, 2, 4, 5) -> (B H W / w^2, w^2, C)
    (B, H, W, C) -> (B H/w, w, W/w, w C) -> transpose (1, 2) -> (B H W / w^2, w^2, C)

Both cut a map into windows; the second never has more than four axes, which every format holds.
What stays side by side is one axis, what is moved twice is moved once, and what is moved back is
not moved. A chain is written anew if that takes it below five axes, or else fewer permutations, or
as many and fewer reshapes.
"""

from collections.abc import Sequence

from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement, same_shape
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_movement, moved, permutation, plan, write
from slide_deploy.program.traced import call, layer_of, shape

# Axes that every format holds, Apple's engines and the fast paths of all runtimes included.
_RANK = 4


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write chains of movements anew where that is shorter; see above."""
    for node in list(editor.program.graph.nodes):
        if node._erased or not is_movement(node) or _goes_on(editor, node):
            continue
        chain = _chain(editor, node)
        wanted = arranged(chain)
        if wanted is None or not _gains(chain, wanted):
            continue
        source = chain[0].all_input_nodes[0]
        new = write(editor, node, source, wanted)
        if new is None:
            report.refuse(layer_of(node), "several sizes of a reshape are open")
            continue
        editor.replace(node, new)
        report.change(layer_of(node), f"{len(chain)} movements written anew")


def _goes_on(editor: Editor, node: Node) -> bool:
    """Whether a movement only leads to another one."""
    return (
        not editor.is_answer(node) and len(node.users) == 1 and is_movement(next(iter(node.users)))
    )


def _chain(editor: Editor, last: Node) -> list[Node]:
    """The movements that lead to one and to nothing else, it included."""
    chain = [last]
    while is_movement(before := chain[0].all_input_nodes[0]) and _goes_on(editor, before):
        chain.insert(0, before)
    return chain


def arranged(chain: Sequence[Node]) -> Arrangement | None:
    """What a chain of movements makes of the value that it starts from."""
    held: Arrangement | None = Arrangement.of(shape(chain[0].all_input_nodes[0]))
    for node in chain:
        held = None if held is None else moved(node, held)
    return held


def _gains(chain: Sequence[Node], wanted: Arrangement) -> bool:
    found = plan(wanted)
    if found is None:
        return False
    first, order = found
    source = shape(chain[0].all_input_nodes[0])
    permuted = tuple(first[axis] for axis in order)
    reshapes = (not same_shape(source, first)) + (not same_shape(permuted, wanted.shape))
    permutations = int(order != tuple(range(len(order))))
    new = (max(_RANK, len(first)), permutations, reshapes + permutations)
    calls = [each for node in chain if (each := call(node)) is not None]
    moving = sum(permutation(each) is not None for each in calls)
    old = (max(_RANK, *(len(shape(node)) for node in chain)), moving, len(chain))
    return new < old
