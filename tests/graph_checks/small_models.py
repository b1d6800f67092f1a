"""Small models of random weights, and how to write them in every format."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from exporters.base import ExportRequest, Traces, exporter_for
from exporters.declarations import request_declarations
from slide_deploy.folding.model import reparameterize
from slide_deploy.formats import format_named
from slide_deploy.layouts import stretches
from slide_deploy.lowerings import DEFAULT_LOWERING, Chooser, Lowering, chosen, lower
from slide_deploy.models.slide_swin import SlideSwin
from tests.shared import once
from tests.support import FORMATS, image_request, random_swin

Files = dict[str, Path]

# Whose passes rewrite every file, so that all hold the same graph.
PASSES_OF = "openvino"


def nano() -> SlideSwin:
    return random_swin(
        image_size=(64, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), num_classes=4
    )


@contextmanager
def on_maps_at_any_price() -> Iterator[None]:
    """Slide stages are written in NCHW, as if a normalisation there cost next to nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stretches, "_NORMALISATION", 0.2)
        yield


def declared_request(
    model: nn.Module,
    shape: tuple[int, int, int],
    lowering: Lowering | Chooser | Mapping[str, Lowering] = DEFAULT_LOWERING,
    *,
    format: str = "",
    dynamic_batch: bool = False,
) -> ExportRequest:
    """A model to write, folded, lowered and declared.

    Args:
        model: as trained.
        shape: of its image.
        lowering: of its slide attentions.
        format: whose passes rewrite it; none do if left out.
        dynamic_batch: whether the batch is open.
    """
    folded = reparameterize(model)[0]
    lowerings = lowering if isinstance(lowering, Mapping) else chosen(folded, lowering)
    metadata: dict[str, str] = {}
    passes = format_named(format).passes if format else ("common_operators",)
    lowered = lower(folded, lowerings)
    request = image_request(lowered, shape, dynamic_batch, metadata, passes=passes)
    metadata.update(request_declarations(request, folded, lowerings))
    return request


def export(
    model: SlideSwin,
    folder: Path,
    *,
    dynamic_batch: bool = False,
    lowering: Lowering | Chooser = DEFAULT_LOWERING,
    formats: Sequence[str] = FORMATS,
) -> Files:
    """Write a model in every format whose converter is quick and that is no preview, or in some."""
    shape = (model.config.in_channels, *model.config.image_size)
    exporters = [exporter_for(name) for name in formats]
    files = {exporter.format: exporter.paths(folder / "nano")[0] for exporter in exporters}
    folded = reparameterize(model)[0]
    lowerings = chosen(folded, lowering)
    request = declared_request(
        model, shape, lowerings, format=PASSES_OF, dynamic_batch=dynamic_batch
    )
    for format, path in files.items():
        exporter_for(format).write(request, path)
    return files


def exported_nano() -> Files:
    """`nano` in every format, written once for all test processes."""
    return once("nano", lambda folder: export(nano(), folder))


def exported_smallest() -> Files:
    """The smallest files that hold both kinds of attention, written once for all test processes."""
    return once("smallest", lambda folder: export(smallest(), folder))


def smallest() -> SlideSwin:
    return random_swin(
        image_size=(16, 16), embed_dim=4, depths=(1, 1), num_heads=(1, 2), num_slide_stages=1
    )


def exported_litert() -> Path:
    """The smallest file with both kinds of attention for LiteRT, whose converter takes seconds."""

    def write(folder: Path) -> Path:
        path = folder / "nano.tflite"
        request = declared_request(smallest(), (3, 16, 16), format="litert")
        exporter_for("litert").write(request, path)
        return path

    return once("smallest for LiteRT", write)


# The first stage has one head, so that nothing but depthwise convolutions has groups there; the
# second has two attentions of one form, whose constants are alike.
FORMS_OF_STAGES = (
    ("depthwise/2", "flat", "running-mean/2"),
    ("depthwise", "flat/3", "running-mean"),
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
    """An ONNX file of a model with unfolded attentions and the census of a folded one."""
    model = nano()
    request = declared_request(model, (3, 64, 64))
    path = folder / "branched.onnx"
    branched = Traces(replace(request.deployable, model=model))
    exporter_for("onnx").write(replace(request, traces=branched), path)
    return path
