"""ExecuTorch writes a file that fails when a weight's strides are not those of its axes.

Weights of lowered models are contiguous (``tests/lowerings/test_contiguous.py``). The day on which
the bug is mended the first test fails, and that rule is no longer needed for ExecuTorch.
"""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("executorch")


class Biased(nn.Module):
    """A table of attention in four axes, as it is gathered for each head."""

    def __init__(self, contiguous: bool) -> None:
        super().__init__()
        table = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(0))
        bias = table.permute(2, 0, 1)[None]
        self.register_buffer("bias", bias.contiguous() if contiguous else bias)

    def forward(self, logits: Tensor) -> Tensor:
        return (logits + self.bias).softmax(-1)


def error_of(contiguous: bool) -> float:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib

    model, logits = Biased(contiguous).eval(), torch.randn(1, 2, 3, 3)
    edge = to_edge_transform_and_lower(
        torch.export.export(model, (logits,)),
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    program = portable_lib._load_program_from_buffer(edge.to_executorch().buffer)
    method = program.load_method("forward")
    method.set_inputs([logits])
    method.execute()
    return float((method.get_outputs()[0] - model(logits)).abs().max())


@pytest.mark.slow
def test_a_strided_weight_makes_a_file_fail() -> None:
    assert error_of(contiguous=True) < 1e-6
    # The runtime refuses it at the call, or in loading where the process ran other files before.
    with pytest.raises(RuntimeError, match=r"execute|Failed to load method"):
        error_of(contiguous=False)


@pytest.mark.slow
def test_a_contiguous_weight_keeps_a_file_correct() -> None:
    assert error_of(contiguous=True) < 1e-6
