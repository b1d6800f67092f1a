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
from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import chain_to, moved_along, permutation, plan, write
from slide_deploy.program.traced import call, layer_of, same_sizes, shape

# Axes that every format holds, Apple's engines and the fast paths of all runtimes included.
_RANK = 4


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write chains of movements anew where that is shorter; see above."""
    for node in list(editor.program.graph.nodes):
        chain = None if node._erased else chain_to(editor, node)
        wanted = None if chain is None else moved_along(chain)
        if chain is None or wanted is None or _turns_a_vector(chain) or not _gains(chain, wanted):
            continue
        source = chain[0].all_input_nodes[0]
        new = write(editor, node, source, wanted)
        if new is None:
            report.refuse(layer_of(node), "several sizes of a reshape are open")
            continue
        editor.replace(node, new)
        report.change(layer_of(node), f"{len(chain)} movements written anew")


def _turns_a_vector(chain: Sequence[Node]) -> bool:
    """Whether a product reads what is turned from a row into a column, or the other way round.

    A reshape would do. But with as many heads as tokens OpenVINO answers wrongly where of all that
    an attention transposes only its result is left (2026.4.1, on the CPU).
    """
    sizes = shape(chain[-1])
    found = call(chain[-1])
    order = None if found is None else permutation(found)
    turned = order is not None and order[-2:] == (len(order) - 1, len(order) - 2)
    is_vector = len(sizes) == 4 and 1 in sizes[-2:]
    readers = (call(user) for user in chain[-1].users)
    products = [each for each in readers if each is not None and each.name in ("matmul", "bmm")]
    return turned and is_vector and bool(products)


def _gains(chain: Sequence[Node], wanted: Arrangement) -> bool:
    found = plan(wanted)
    if found is None:
        return False
    first, order = found
    source = shape(chain[0].all_input_nodes[0])
    permuted = tuple(first[axis] for axis in order)
    reshapes = (not same_sizes(source, first)) + (not same_sizes(permuted, wanted.shape))
    permutations = int(order != tuple(range(len(order))))
    rank = max(_RANK, len(first), len(wanted.shape))
    new = (rank, permutations, reshapes + permutations)
    calls = [each for node in chain if (each := call(node)) is not None]
    moving = sum(permutation(each) is not None for each in calls)
    old = (max(_RANK, *(len(shape(node)) for node in chain)), moving, len(chain))
    return new < old
