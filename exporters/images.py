"""Images in an export: embedded preprocessing, softmax, and the description in the metadata."""

from collections.abc import Sequence
from dataclasses import replace

from torch.export import ExportedProgram

from exporters.outcome import ExportOptions
from slide_deploy.deployable.pixels import (
    class_count,
    classes_place,
    image_place,
    with_preprocessing,
    with_softmax,
)
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.formats import Format
from slide_deploy.images.description import IMAGE_KEY, ImageDescription, Preprocessing
from slide_deploy.passes.report import PassReport
from slide_deploy.program.traced import call, layer_path

# The submodule of ``Network`` that normalises pixels.
_PIXELS = "pixels"


def with_ends(
    deployable: Deployable, options: ExportOptions, format: Format | None = None
) -> Deployable:
    """Return a network with the requested preprocessing and softmax around it.

    Args:
        deployable: the network as trained; it is not changed.
        options: options of the export.
        format: the format to write; None for the reference network that files are verified
            against. Its pixels are RGB of shape (batch, channels, height, width).

    Raises:
        InputError: if the network does not take an image, or does not output logits.
    """
    if options.softmax:
        deployable = with_softmax(deployable)
    requested = options.preprocessing
    if not requested.embedded:
        return deployable
    if format is None:
        requested = replace(requested, layout="nchw", order="rgb")
    pictures = format is not None and format.takes_pictures
    return with_preprocessing(deployable, completed(deployable, requested), as_picture=pictures)


def completed(deployable: Deployable, requested: Preprocessing) -> Preprocessing:
    """Return the requested preprocessing with a mean and deviation for each channel."""
    place = image_place(deployable)
    if place is None:  # ``with_preprocessing`` refuses such networks
        return requested.completed(3, deployable.normalisation)
    return requested.completed(deployable.inputs[place].example.shape[1], deployable.normalisation)


def refuse_labels(deployable: Deployable, labels: Sequence[str]) -> None:
    """Check that the labels fit the classes of the network.

    Raises:
        InputError: if their number is not the number of classes, or a label is empty or given
            twice.
    """
    if not labels:
        return
    classes = class_count(deployable)
    if not classes:
        raise InputError(
            f"{deployable.origin.name} outputs {', '.join(deployable.outputs)} and no class "
            f"scores: leave out --labels."
        )
    if len(labels) != classes:
        raise InputError(
            f"--labels has {len(labels)} names and {deployable.origin.name} has {classes} classes: "
            f"give one name a line, in the order of the classes."
        )
    first: dict[str, int] = {}
    for line, name in enumerate(labels, start=1):
        if not name.strip():
            raise InputError(f"--labels has no name in line {line}: give every class a name.")
        if name in first:
            raise InputError(
                f"--labels has the name {name} twice, in lines {first[name]} and {line}: give the "
                f"classes different names."
            )
        first[name] = line


def image_metadata(
    plain: Deployable, written: Deployable, options: ExportOptions, format: Format
) -> dict[str, str]:
    """Return the metadata entry that describes a file's image and classes, if it has an image.

    Args:
        plain: the network without preprocessing and softmax around it.
        written: the network as the file contains it.
        options: options of the export.
        format: format of the file.

    Raises:
        InputError: if the options describe an image and the network takes none.
    """
    requested = options.preprocessing
    place = image_place(plain)
    is_described = requested.is_customised or options.labels or options.softmax
    if place is None or not (is_described or plain.takes_images):
        if requested.is_customised:
            with_preprocessing(plain, requested)  # raises with the reason
        return {}
    ours = plain.inputs[place]
    channels = ours.example.shape[1]
    if channels not in (1, 3) and not requested.is_customised:
        return {}
    known = completed(plain, requested)
    assert known.mean is not None
    assert known.deviation is not None
    pictures = requested.embedded and format.takes_pictures
    height, width = (None if axis in ours.open else ours.example.shape[axis] for axis in (2, 3))
    classes = classes_place(written)
    description = ImageDescription(
        input=ours.name,
        size=(height, width),
        layout="nchw" if pictures else known.layout,
        order="rgb" if pictures else known.order,
        type="uint8" if requested.embedded else ours.example.dtype.name,
        mean=known.mean,
        deviation=known.deviation,
        inside=requested.embedded,
        output="" if classes is None else written.outputs[classes],
        probabilities=options.softmax,
        labels=options.labels,
    )
    return {IMAGE_KEY: description.text()}


def folded_where(
    program: ExportedProgram, reports: Sequence[PassReport], deployable: Deployable
) -> str:
    """Return where the arithmetic on pixels went, a sentence without a full stop; may be empty.

    Args:
        program: the program after all passes.
        reports: report of each pass.
        deployable: the network with its preprocessing.
    """
    if deployable.processing is None or deployable.processing.pixels is None:
        return ""
    left = [
        found.name
        for found in map(call, program.graph.nodes)
        if found is not None
        and layer_path(found.node) == _PIXELS
        and found.name in ("sub", "add", "div", "mul", "conv2d")
    ]
    into = [
        part
        for report in reports
        for change in report.changes
        if any(each.partition(" ")[0] == _PIXELS for each in change.parts)
        for part in change.parts
        if part.partition(" ")[0] != _PIXELS
    ]
    where = f"the weights of {', '.join(dict.fromkeys(into))}"
    if not left:
        return f"mean and deviation are in {where}"
    operators = f"an operator in front ({', '.join(left)})"
    if not into:
        return f"mean and deviation stay {operators}, because no convolution can absorb them"
    return (
        f"the deviation is in {where}, and the mean stays {operators}, because zero padding is "
        f"not the mean pixel"
    )
