"""SD018 and the known runtime bugs: correct graphs that a runtime computes wrongly.

Each bug was reproduced. Its test runs it on the installed runtime and reports when a new version
has fixed it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slide_deploy.graph_checks.attentions import attentions
from slide_deploy.graph_checks.convolutions import convolutions
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, kind_of
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Severity, Violation
from slide_deploy.graph_checks.shapes import permutation_of

_TOKENS_FIRST = (0, 2, 1, 3)  # (batch, tokens, heads, d) to (batch, heads, tokens, d), and back
_FEATURES_FIRST = (0, 1, 3, 2)  # (batch, heads, d, tokens) to (batch, heads, tokens, d)


@dataclass(frozen=True)
class Match:
    """A place where a graph triggers a bug.

    Attributes:
        node: name of the node.
        message: what it does, a clause.
        certain: whether the outputs are wrong for the file as it is; otherwise only once the batch
            is fixed.
    """

    node: str
    message: str
    certain: bool


@dataclass(frozen=True)
class RuntimeBug:
    """A bug of a runtime.

    Attributes:
        name: short, as the documentation lists it.
        runtime: runtime and device, in words.
        target: their name in ``slide-deploy doctor`` and in policies.
        versions: versions that were seen to be wrong.
        formats: severity of a match, by format, for the formats that the runtime reads.
        find: yields the places where a graph triggers the bug.
        remedy: what to do, a sentence.
    """

    name: str
    runtime: str
    target: str
    versions: tuple[str, ...]
    formats: Mapping[str, Severity]
    find: Callable[[Graph], Iterator[Match]]
    remedy: str


def heads_equal_tokens(graph: Graph) -> Iterator[Match]:
    """Attention of (batch, heads, tokens, d) with as many heads as tokens, transposed on one side.

    OpenVINO fuses the transposes (0, 2, 1, 3) of the queries and of the result into its attention
    kernel, and uses one layout for both. If only one of the two is transposed and heads equal
    tokens, the sizes do not tell the layouts apart, and it computes with the wrong one. The outputs
    are right if both or neither are transposed, if the batch is open, or if queries or values come
    from (batch, heads, d, tokens): OpenVINO then runs matmuls instead of its attention kernel.
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
        yield Match(
            attention.node.name,
            f"Attends with {shape[1]} heads over {shape[1]} tokens, and only its {side} transposed",
            certain=isinstance(shape[0], int),
        )


def groups_share_a_vector(graph: Graph) -> Iterator[Match]:
    """A grouped convolution over one or two axes, where one vector of outputs spans two groups.

    If each group has 4 outputs or more, ONNX Runtime Web on WebGPU computes v outputs at once. v is
    the largest of 4, 2 and 1 that divides the total number of outputs. For all v it reads the
    inputs of the first output's group. The result is wrong if v does not divide the number of
    outputs of a group.
    """
    for found in convolutions(graph):
        together = next(v for v in (4, 2, 1) if found.outputs % v == 0)
        each = found.outputs_per_group
        if found.groups > 1 and len(found.kernel) < 3 and each >= 4 and each % together:
            yield Match(
                found.node.name,
                f"Convolves {found.groups} groups into {each} outputs each, {together} at a time",
                certain=True,
            )


def _permutation(graph: Graph, name: str) -> tuple[int, ...] | None:
    """The permutation of the transpose that computes a value; None if no transpose does."""
    node = graph.producers.get(name)
    return None if node is None else permutation_of(graph, node)


def _result_is_transposed(graph: Graph, name: str) -> bool:
    """Whether the only reader of a value, after casts, transposes it to tokens first."""
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
        "does where heads equal tokens, or merge heads into the batch.",
    ),
    RuntimeBug(
        name="groups share a vector",
        runtime="ONNX Runtime Web on WebGPU",
        target="web:webgpu",
        versions=("1.30.0",),
        formats={"onnx": "error"},
        find=groups_share_a_vector,
        remedy="If it is a slide attention, export with --lowering flat; otherwise run the file "
        "with WebAssembly.",
    ),
)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if not policy.structure.runtime_bugs:
        return
    for bug in RUNTIME_BUGS:
        severity = bug.formats.get(graph.format)
        if severity is None or bug.target not in policy.structure.runtime_bugs_on:
            continue
        for found in bug.find(graph):
            yield RULE.broken(
                f"{found.message}: {bug.runtime} computes it wrongly in {', '.join(bug.versions)}"
                f"{'' if found.certain else ' once the batch is fixed'}.",
                found.node,
                severity=severity if found.certain else "warning",
                remedy=bug.remedy,
            )


RULE = Rule(
    id="SD018",
    name="KnownRuntimeBugs",
    title="The graph does not trigger a known bug of a runtime.",
    reason="A runtime can compute a correct graph wrongly, and no other check would see it.",
    remedy="Write the pattern another way, and verify on the runtime itself.",
    check=_check,
    in_floats=True,
)
