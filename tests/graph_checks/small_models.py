"""Small models of random weights, and how to write them in every format."""

from dataclasses import replace
from pathlib import Path

from slide_deploy.traits import PLAIN, Traits
from torch import nn

from exporters.base import ExportRequest
from exporters.declarations import request_declarations
from exporters.registry import exporter_for
from slide_deploy.formats import format_names
from slide_deploy.lowerings import DEFAULT_LOWERING, Chooser, Lowering, chosen, lower
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.reparameterize import reparameterize
from tests.shared import once
from tests.support import image_request, random_swin

Files = dict[str, Path]


def nano() -> SlideSwin:
    return random_swin(
        image_size=(64, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), num_classes=4
    )


def declared_request(
    model: nn.Module,
    shape: tuple[int, int, int],
    lowering: Lowering | Chooser = DEFAULT_LOWERING,
    traits: Traits = PLAIN,
    *,
    dynamic_batch: bool = False,
) -> ExportRequest:
    """A model to write, folded, lowered and declared."""
    folded = reparameterize(model)[0]
    lowerings = chosen(folded, lowering)
    metadata: dict[str, str] = {}
    request = image_request(lower(folded, lowerings, traits), shape, dynamic_batch, metadata)
    metadata.update(request_declarations(request, folded, lowerings))
    return request


def export(
    model: SlideSwin,
    folder: Path,
    *,
    dynamic_batch: bool = False,
    lowering: Lowering | Chooser = DEFAULT_LOWERING,
) -> Files:
    """Write a model in every format."""
    shape = (model.config.in_channels, *model.config.image_size)
    request = declared_request(model, shape, lowering, dynamic_batch=dynamic_batch)
    exporters = [exporter_for(name) for name in format_names()]
    files = {exporter.format: exporter.paths(folder / "nano")[0] for exporter in exporters}
    for exporter in exporters:
        exporter.write(request, files[exporter.format])
    return files


def exported_nano() -> Files:
    """`nano` in every format, written once for all test processes."""
    return once("nano", lambda folder: export(nano(), folder))


def exported_smallest() -> Files:
    """The smallest files that hold both kinds of attention, written once for all test processes."""
    model = random_swin(
        image_size=(16, 16), embed_dim=4, depths=(1, 1), num_heads=(1, 2), num_slide_stages=1
    )
    return once("smallest", lambda folder: export(model, folder))


# The first stage has one head, so that nothing but depthwise convolutions has groups there; the
# second has two attentions of one form, whose constants are alike.
FORMS_OF_STAGES = (
    ("depthwise/2", "per-offset", "broadcast/2", "dual/2", "flat", "running-mean/2"),
    ("depthwise", "per-offset/2", "broadcast", "dual", "flat/3", "per-offset", "running-mean"),
)


def every_form() -> tuple[SlideSwin, Chooser]:
    """A model with as many slide attentions as there are forms, in and without strips.

    Its constants are large enough to be held against each other.
    """
    model = random_swin(
        embed_dim=64,
        depths=tuple(map(len, FORMS_OF_STAGES)),
        num_heads=(1, 4),
        num_slide_stages=2,
    )
    forms = iter([Lowering.parse(text) for texts in FORMS_OF_STAGES for text in texts])
    return model, lambda attention: next(forms)


def branched_swin(folder: Path) -> Path:
    """An ONNX file of a model whose attentions nobody folded, said to be folded."""
    model = nano()
    request = declared_request(model, (3, 64, 64))
    path = folder / "branched.onnx"
    branched = replace(request.deployable, model=model)
    exporter_for("onnx").write(replace(request, deployable=branched), path)
    return path
