"""What an export does about images: pixels in, probabilities out, and what a file says of it."""

from collections.abc import Sequence
from dataclasses import replace

from torch.export import ExportedProgram

from exporters.outcome import ExportOptions
from slide_deploy.deployable.pixels import (
    class_count,
    classes_place,
    gives_probabilities,
    image_place,
    takes_pixels,
)
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.formats import Format
from slide_deploy.images.description import IMAGE_KEY, ImageDescription, Preprocessing
from slide_deploy.passes.report import PassReport
from slide_deploy.program.traced import call, layer_path

# Where ``Network`` keeps what makes an image of pixels.
_PIXELS = "pixels"


def with_ends(
    deployable: Deployable, options: ExportOptions, format: Format | None = None
) -> Deployable:
    """A network with what was asked for around it.

    Args:
        deployable: as trained; left as it is.
        options: of the export.
        format: that is written; None for the network that files are held against, which takes
            pixels as (batch, channels, height, width) of RGB.

    Raises:
        InputError: if the network has no such image, or no such answer.
    """
    if options.softmax:
        deployable = gives_probabilities(deployable)
    asked = options.preprocessing
    if not asked.embedded:
        return deployable
    if format is None:
        asked = replace(asked, layout="nchw", order="rgb")
    pictures = format is not None and format.takes_pictures
    return takes_pixels(deployable, completed(deployable, asked), as_picture=pictures)


def completed(deployable: Deployable, asked: Preprocessing) -> Preprocessing:
    """What was asked for of images, with numbers for each channel of a network's image."""
    place = image_place(deployable)
    if place is None:  # which ``takes_pixels`` refuses
        return asked.completed(3, deployable.normalisation)
    return asked.completed(deployable.inputs[place].example.shape[1], deployable.normalisation)


def refuse_labels(deployable: Deployable, labels: Sequence[str]) -> None:
    """Refuse names that are not those of the network's classes.

    Raises:
        InputError: if there are more or fewer of them, or two are alike.
    """
    if not labels:
        return
    classes = class_count(deployable)
    if not classes:
        raise InputError(
            f"{deployable.origin.name} answers {', '.join(deployable.outputs)}, no row of classes "
            f"to name: leave out --labels."
        )
    if len(labels) != classes:
        raise InputError(
            f"--labels has {len(labels)} names and {deployable.origin.name} tells {classes} "
            f"classes apart: give one name a line, in the order of the classes."
        )
    first: dict[str, int] = {}
    for line, name in enumerate(labels, start=1):
        if not name.strip():
            raise InputError(f"--labels has no name in line {line}: give every class one.")
        if name in first:
            raise InputError(
                f"--labels names two classes {name}, in lines {first[name]} and {line}: give them "
                f"different names."
            )
        first[name] = line


def image_metadata(
    plain: Deployable, written: Deployable, options: ExportOptions, format: Format
) -> dict[str, str]:
    """The entry of a file's metadata that says what it takes and answers; none for other networks.

    Args:
        plain: the network without its ends.
        written: with them, as it is written.
        options: of the export.
        format: of the file.

    Raises:
        InputError: if something is said of an image that the network does not take.
    """
    asked = options.preprocessing
    place = image_place(plain)
    is_said = asked.is_customised or options.labels or options.softmax
    if place is None or not (is_said or plain.takes_images):
        if asked.is_customised:
            takes_pixels(plain, asked)  # which says why not
        return {}
    ours = plain.inputs[place]
    channels = ours.example.shape[1]
    if channels not in (1, 3) and not asked.is_customised:
        return {}
    known = completed(plain, asked)
    assert known.mean is not None
    assert known.deviation is not None
    pictures = asked.embedded and format.takes_pictures
    height, width = (None if axis in ours.open else ours.example.shape[axis] for axis in (2, 3))
    classes = classes_place(written)
    description = ImageDescription(
        input=ours.name,
        size=(height, width),
        layout="nchw" if pictures else known.layout,
        order="rgb" if pictures else known.order,
        type="uint8" if asked.embedded else ours.example.dtype.name,
        mean=known.mean,
        deviation=known.deviation,
        inside=asked.embedded,
        output="" if classes is None else written.outputs[classes],
        probabilities=options.softmax,
        labels=options.labels,
    )
    return {IMAGE_KEY: description.text()}


def folded_where(
    program: ExportedProgram, reports: Sequence[PassReport], deployable: Deployable
) -> str:
    """What became of the arithmetic on pixels, a sentence without a full stop; empty without any.

    Args:
        program: the network, rewritten.
        reports: what each pass did to it.
        deployable: the network with its ends.
    """
    if deployable.around is None or deployable.around.pixels is None:
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
        return f"mean and deviation stay {operators}, since no convolution can take them over"
    return (
        f"the deviation is in {where}, and the mean stays {operators}, since a border of zeros "
        f"is no border of pixels"
    )
