"""The part of SD020 that checks a file's description of its image and classes against the graph."""

from collections.abc import Iterator

from slide_deploy.errors import InputError
from slide_deploy.formats import known_formats
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.graph_walks import ancestors
from slide_deploy.images.description import ImageDescription, read_description

_FLOATS = ("float32", "float16")
# Operators that keep probabilities as they are.
_KEEPING_PROBABILITIES = frozenset(
    {"cast", "convert", "identity", "reshape", "squeeze"}
    | {"quantizelinear", "dequantizelinear", "fakequantize"}
)


def image_faults(graph: Graph) -> Iterator[tuple[str, str]]:
    """Differences between the file's description and its graph.

    Yields:
        the name of an input or output, empty for the whole file, and a sentence.
    """
    try:
        declared = read_description(graph.metadata)
    except InputError as error:
        yield "", str(error)
        return
    if declared is not None:
        yield from _of_input(graph, declared)
        yield from _of_output(graph, declared)


def _of_input(graph: Graph, declared: ImageDescription) -> Iterator[tuple[str, str]]:
    image = next((each for each in graph.inputs if each.name == declared.input), None)
    if image is None:
        message = "Is described as the image, and the graph has no input of this name."
        yield declared.input, message
        return
    # The graph reads the system's image type as floats, although callers pass 8-bit pixels.
    format = next((each for each in known_formats() if each.name == graph.format), None)
    has_image_type = format is not None and format.takes_pictures
    is_image = declared.type == "uint8" and image.dtype in _FLOATS and has_image_type
    allowed = _FLOATS if declared.type in _FLOATS else (declared.type,)
    if image.dtype not in allowed and not is_image:
        yield declared.input, f"Is described as {declared.type}, and the graph has {image.dtype}."
    if image.shape is None:
        return
    sizes = declared.channels_first(image.shape)
    wanted = (None, len(declared.mean), *declared.size)
    if len(sizes) != len(wanted) or any(
        isinstance(size, int) and want is not None and size != want
        for size, want in zip(sizes, wanted, strict=True)
    ):
        yield (
            declared.input,
            f"Is described as {declared.layout} of {len(declared.mean)} channels and the size "
            f"{declared.size}, and the graph has {image.shape}.",
        )


def _of_output(graph: Graph, declared: ImageDescription) -> Iterator[tuple[str, str]]:
    if not declared.output:
        return
    output = next((each for each in graph.outputs if each.name == declared.output), None)
    if output is None:
        message = "Is described as the classes, and the graph has no output of this name."
        yield declared.output, message
        return
    classes = output.shape[1] if output.shape is not None and len(output.shape) > 1 else None
    if declared.labels and isinstance(classes, int) and classes != len(declared.labels):
        names = len(declared.labels)
        yield declared.output, f"Has {classes} classes, and the file names {names}."
    if declared.probabilities and not _is_softmax(graph, declared.output):
        yield declared.output, "Is described as probabilities, and no softmax computes it."


def _is_softmax(graph: Graph, name: str) -> bool:
    others = (
        node.operator.lower()
        for node in ancestors(graph, name, len(graph.nodes))
        if node.operator.lower() not in _KEEPING_PROBABILITIES
    )
    return next(others, "") == "softmax"
