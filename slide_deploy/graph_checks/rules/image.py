"""What a file says of its image and its classes, held against its graph: a part of SD020."""

from collections.abc import Iterator

from slide_deploy.errors import InputError
from slide_deploy.formats import known_formats
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.images.description import ImageDescription, read_description

_FLOATS = ("float32", "float16")
# What changes no share behind a softmax.
_PASSING = frozenset(
    {"cast", "convert", "identity", "reshape", "squeeze"}
    | {"quantizelinear", "dequantizelinear", "fakequantize"}
)


def image_faults(graph: Graph) -> Iterator[tuple[str, str]]:
    """The names of inputs and outputs that are not as the file says, each with a sentence."""
    try:
        said = read_description(graph.metadata)
    except InputError as error:
        yield "", str(error)
        return
    if said is not None:
        yield from _of_input(graph, said)
        yield from _of_output(graph, said)


def _of_input(graph: Graph, said: ImageDescription) -> Iterator[tuple[str, str]]:
    image = next((each for each in graph.inputs if each.name == said.input), None)
    if image is None:
        yield said.input, "Is described as the image, and the graph has no input of this name."
        return
    # A picture of the system has the type that its program computes in.
    written = next((each for each in known_formats() if each.name == graph.format), None)
    takes_pictures = written is not None and written.takes_pictures
    is_picture = said.type == "uint8" and image.dtype in _FLOATS and takes_pictures
    alike = _FLOATS if said.type in _FLOATS else (said.type,)
    if image.dtype not in alike and not is_picture:
        yield said.input, f"Is described as {said.type}, and the graph has {image.dtype}."
    if image.shape is None:
        return
    sizes = said.channels_first(image.shape)
    wanted = (None, len(said.mean), *said.size)
    if len(sizes) != len(wanted) or any(
        isinstance(size, int) and want is not None and size != want
        for size, want in zip(sizes, wanted, strict=True)
    ):
        yield (
            said.input,
            f"Is described as {said.layout} of {len(said.mean)} channels and the size "
            f"{said.size}, and the graph has {image.shape}.",
        )


def _of_output(graph: Graph, said: ImageDescription) -> Iterator[tuple[str, str]]:
    if not said.output:
        return
    answer = next((each for each in graph.outputs if each.name == said.output), None)
    if answer is None:
        yield said.output, "Is described as the classes, and the graph has no output of this name."
        return
    classes = answer.shape[1] if answer.shape is not None and len(answer.shape) > 1 else None
    if said.labels and isinstance(classes, int) and classes != len(said.labels):
        yield said.output, f"Has {classes} classes, and the file names {len(said.labels)}."
    if said.probabilities and not _is_softmax(graph, said.output):
        yield said.output, "Is described as probabilities, and comes from no softmax."


def _is_softmax(graph: Graph, name: str) -> bool:
    for _ in graph.nodes:  # an end, should the graph have a cycle
        node = graph.producers.get(name)
        if node is None or node.operator.lower() == "softmax":
            return node is not None
        if node.operator.lower() not in _PASSING or not node.inputs:
            return False
        name = node.inputs[0]
    return False
