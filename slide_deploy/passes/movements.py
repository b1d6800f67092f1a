"""Rewrite chains of reshapes and permutations with as few operators and axes as possible.

    (B, H, W, C) -> (B, H/w, w, W/w, w, C) -> permute (0, 1, 3, 2, 4, 5) -> (B H W / w^2, w^2, C)
    (B, H, W, C) -> (B H/w, w, W/w, w C) -> transpose (1, 2) -> (B H W / w^2, w^2, C)

Both chains partition a feature map into windows. The second one has at most four axes, which every
format supports. Axes that stay neighbours are joined, successive permutations become one, and
permutations that cancel disappear. The pass rewrites a chain if that lowers its highest rank, where
all ranks up to four count as equal. At the same rank, it rewrites a chain if that takes fewer
permutations, or as many permutations and fewer reshapes.
"""

from collections.abc import Sequence

from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import chain_to, moved_along, permutation, plan, write
from slide_deploy.program.traced import call, layer_of, same_sizes, shape

# The rank that every format supports, as do Apple's engines and the fast paths of all runtimes.
_RANK = 4


def rewrite(editor: Editor, report: PassReport) -> None:
    """Rewrite chains of movements that can be shorter or have fewer axes."""
    for node in list(editor.program.graph.nodes):
        chain = None if node._erased else chain_to(editor, node)
        wanted = None if chain is None else moved_along(chain)
        if (
            chain is None
            or wanted is None
            or _transposes_a_vector(chain)
            or not _gains(chain, wanted)
        ):
            continue
        source = chain[0].all_input_nodes[0]
        new = write(editor, node, source, wanted)
        if new is None:
            report.refuse(layer_of(node), "a reshape would have several open sizes")
            continue
        editor.replace(node, new)
        report.change(layer_of(node), f"{len(chain)} reshapes and permutations were simplified")


def _transposes_a_vector(chain: Sequence[Node]) -> bool:
    """Whether a chain ends by transposing a row or column vector for a matmul.

    A reshape would do the same. But OpenVINO (2026.4.1, on the CPU) computes wrong results if an
    attention with as many heads as tokens transposes its result and nothing else.
    """
    sizes = shape(chain[-1])
    found = call(chain[-1])
    order = None if found is None else permutation(found)
    is_transposed = order is not None and order[-2:] == (len(order) - 1, len(order) - 2)
    is_vector = len(sizes) == 4 and 1 in sizes[-2:]
    readers = (call(user) for user in chain[-1].users)
    matmuls = [each for each in readers if each is not None and each.name in ("matmul", "bmm")]
    return is_transposed and is_vector and bool(matmuls)


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
