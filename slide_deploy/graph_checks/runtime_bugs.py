"""Known runtime bugs: correct graphs that a runtime answers wrongly.

Each was reproduced; its test runs it on the installed runtime and says when a version has mended
it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slide_deploy.graph_checks.attentions import attentions
from slide_deploy.graph_checks.convolutions import convolutions
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.rules.rule import Severity
from slide_deploy.graph_checks.shapes import permutation_of

_TOKENS_FIRST = (0, 2, 1, 3)  # (batch, tokens, heads, d) to (batch, heads, tokens, d), and back
_FEATURES_FIRST = (0, 1, 3, 2)  # (batch, heads, d, tokens) to (batch, heads, tokens, d)


@dataclass(frozen=True)
class Find:
    """A place where a graph meets a bug.

    Attributes:
        node: where.
        message: how.
        certain: whether the runtime answers wrongly as the file is; else only in some settings.
    """

    node: str
    message: str
    certain: bool


@dataclass(frozen=True)
class RuntimeBug:
    """A bug of a runtime.

    Attributes:
        name: what it is about.
        runtime: which runtime and device, in words.
        target: the same as ``slide-deploy doctor`` names it, and a policy.
        versions: those that were seen to be wrong.
        formats: how bad it is to meet it, in files of the formats that the runtime reads.
        find: where a graph meets it.
        remedy: what to do.
    """

    name: str
    runtime: str
    target: str
    versions: tuple[str, ...]
    formats: Mapping[str, Severity]
    find: Callable[[Graph], Iterator[Find]]
    remedy: str


def heads_equal_tokens(graph: Graph) -> Iterator[Find]:
    """Attention of (batch, heads, tokens, d) with as many heads as tokens, transposed on one side.

    OpenVINO fuses the transposes (0, 2, 1, 3) of the queries and of the result into its attention
    kernel, and takes one layout for both. Where only one of the two is transposed, and the sizes of
    heads and tokens cannot tell the layouts apart, it computes with the wrong one. It is right if
    both or neither are, where the batch is open, and where queries or values come from
    (batch, heads, d, tokens): then it sees matrix products and no attention.
    """
    for attention in attentions(graph):
        shape = graph.shape(attention.query)
        if shape is None or len(shape) != 4 or not isinstance(shape[1], int):
            continue
        if shape[1] != shape[2] or shape[1] < 2:
            continue
        origins = [_permutation(graph, name) for name in (attention.query, attention.values)]
        transposed_query = origins[0] == _TOKENS_FIRST
        if _FEATURES_FIRST in origins:
            continue
        if transposed_query == _result_is_transposed(graph, attention.result):
            continue
        side = "queries are" if transposed_query else "result is"
        yield Find(
            attention.node.name,
            f"Attends with {shape[1]} heads over {shape[1]} tokens, and only its {side} transposed",
            certain=isinstance(shape[0], int),
        )


def groups_share_a_vector(graph: Graph) -> Iterator[Find]:
    """A grouped convolution of one or two axes, some of whose vectors of outputs have two groups.

    ONNX Runtime Web computes v outputs at once on WebGPU, if each group has 4 or more: v is 4, 2
    or 1, the largest that divides the number of all outputs. It reads the inputs of the first
    output's group for all v. So it is wrong if v does not divide the number of outputs a group.
    """
    for found in convolutions(graph):
        together = next(v for v in (4, 2, 1) if found.outputs % v == 0)
        each = found.outputs_per_group
        if found.groups > 1 and len(found.kernel) < 3 and each >= 4 and each % together:
            yield Find(
                found.node.name,
                f"Convolves {found.groups} groups into {each} outputs each, {together} at a time",
                certain=True,
            )


def _permutation(graph: Graph, name: str) -> tuple[int, ...] | None:
    """The permutation that gives a value; None if no transpose does."""
    node = graph.producers.get(name)
    return None if node is None else permutation_of(graph, node)


def _result_is_transposed(graph: Graph, name: str) -> bool:
    """Whether what reads a value first is its transpose, casts set aside."""
    for _ in range(LONGEST_WALK):
        readers = graph.consumers.get(name, ())
        if len(readers) != 1 or not readers[0].outputs:
            return False
        reader = readers[0]
        if kind_of(graph, reader) is Kind.TRANSPOSE:
            return permutation_of(graph, reader) == _TOKENS_FIRST
        if kind_of(graph, reader) is not Kind.CAST and reader.operator.lower() != "identity":
            return False
        name = reader.outputs[0]
    return False


RUNTIME_BUGS = (
    RuntimeBug(
        name="heads equal tokens",
        runtime="OpenVINO on the CPU",
        target="openvino:cpu",
        versions=("2026.4.1",),
        # An ONNX file may never meet OpenVINO.
        formats={"onnx": "warning", "openvino": "error"},
        find=heads_equal_tokens,
        remedy="Put the features before the tokens, (batch, heads, d, tokens), as slide-deploy "
        "does where heads and tokens are as many, or merge heads into the batch.",
    ),
    RuntimeBug(
        name="groups share a vector",
        runtime="ONNX Runtime Web on WebGPU",
        target="web:webgpu",
        versions=("1.30.0",),
        formats={"onnx": "error"},
        find=groups_share_a_vector,
        remedy="Export with --lowering flat where it is a slide attention; else run the file with "
        "WebAssembly.",
    ),
)
