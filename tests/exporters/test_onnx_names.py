"""Names of an ONNX file are unique, whatever inputs, outputs and weights are called."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import slide_deploy


class Named(nn.Module):
    """A network whose weight has the name that torch gives to one of its values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.Parameter(torch.randn(4, 1, 1))  # no convolution behind it takes it in

    def forward(self, image: Tensor) -> Tensor:
        return (torch.relu(self.conv(image)) * self.relu).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("taken", "given"), [("conv2d", "mul"), ("image", "output")])
def test_a_name_that_torch_gives_to_a_value_may_be_given(
    taken: str, given: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    result = slide_deploy.export(
        Named().eval(),
        torch.randn(1, 3, 9, 7),
        to="onnx",
        out=tmp_path,
        input_names=[taken],
        output_names=[given],
    )
    assert result.passed
    assert result.files[0].verification.outputs == (given,)
