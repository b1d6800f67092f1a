"""Files of every golden checkpoint fold to what our own export of the checkpoint writes."""

from pathlib import Path

import pytest

from slide_deploy.models.slide_attention import SlideAttention
from tests.onnx_network.files import (
    GOLDENS,
    Writer,
    checkpoint_of,
    difference,
    file_of,
    folded,
    operators,
)
from tests.support import exported

BATCHES = (1, 2, "open")
WRITERS = (
    *(Writer("torchscript", opset, BATCHES[opset % 3]) for opset in range(11, 19)),
    *(Writer("dynamo", opset, BATCHES[opset % 3]) for opset in range(18, 25)),
)
QUICK = {
    ("slide_swin_nano_shifted", WRITERS[2]),  # open batch
    ("slide_pvt_v2_nano_k35", WRITERS[10]),
}


def _marks(place: int, name: str, turn: int) -> list[pytest.MarkDecorator]:
    if (name, WRITERS[turn]) in QUICK:
        return []
    # Each checkpoint is written by one exporter, and every writer is met by one or two.
    return [pytest.mark.slow if turn == (4 * place + 1) % len(WRITERS) else pytest.mark.full]


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        pytest.param(name, writer, id=f"{name}-{writer}", marks=_marks(place, name, turn))
        for place, name in enumerate(GOLDENS)
        for turn, writer in enumerate(WRITERS)
    ],
)
def test_folds_to_the_operators_of_our_own_export(
    name: str, writer: Writer, tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(name)
    path = file_of(name, writer)
    result = folded(path, tmp_path / "folded.onnx")
    assert result.passed and not result.certificate.left and not result.remarks
    count = sum(isinstance(module, SlideAttention) for module in checkpoint.model.modules())
    assert len(result.certificate.folded) == count > 0

    batch = 3 if writer.batch == "open" else writer.batch
    shape = (batch, checkpoint.config.in_channels, *checkpoint.config.image_size)
    assert difference(result.path, path, shape) < 1e-5
    own = exported(
        checkpoint,
        dynamic_batch=writer.batch == "open",
        formats=("onnx",),
        features=not checkpoint.model.is_classifier,
    )
    assert operators(result.path) == operators(own.files[0].paths[0])
