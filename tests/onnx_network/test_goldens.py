"""Files of every golden checkpoint fold to what our own export of the checkpoint writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slide_deploy.models.slide_attention import SlideAttention
from tests.families import golden as families
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
QUICK = ("slide_swin_nano_shifted", WRITERS[2])  # open batch
SLOW = ("slide_pvt_v2_nano", Writer("dynamo", 21))


# PyTorch's older exporter writes ``unflatten``, which these networks call, from opset 13 on.
FROM_13 = {"slide_swin_nano_shifted", *families.NAMES}


def _trials() -> Iterator[Any]:
    """Yield every checkpoint with every writer."""
    for name in GOLDENS:
        for writer in WRITERS:
            if writer.opset >= 13 or name not in FROM_13:
                marks = {QUICK: [], SLOW: [pytest.mark.slow]}.get(
                    (name, writer), [pytest.mark.full]
                )
                yield pytest.param(name, writer, id=f"{name}-{writer}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "writer"), list(_trials()))
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
    ours, theirs = operators(result.path), operators(own.files[0].paths[0])
    if name.startswith("slide_cswin"):  # its stripes are reshaped less often in a file
        assert not ours - theirs and set(theirs - ours) <= {"Reshape"}
    else:
        assert ours == theirs
