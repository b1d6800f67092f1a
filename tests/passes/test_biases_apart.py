"""A matmul of tokens with a bias becomes a matmul and an addition."""

import pytest
from torch import nn

from tests.passes.rewriting import LIMIT, program, rewritten


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 4, 8)], ids=["tokens", "maps"])
def test_the_bias_has_the_rank_of_the_tokens(shape: tuple[int, ...]) -> None:
    found = rewritten(program(nn.Linear(8, 5), shape, open_batch=True), "biases_apart")
    (addition,) = (node for node in found.program.graph.nodes if "add" in str(node.target))
    assert addition.args[1].meta["val"].shape == (*[1] * (len(shape) - 1), 5)
    assert found.error < LIMIT


def test_matrices_and_matmuls_without_bias_are_left_unchanged() -> None:
    for layer, shape in ((nn.Linear(8, 5), (2, 8)), (nn.Linear(8, 5, bias=False), (2, 3, 8))):
        found = rewritten(program(layer, shape), "biases_apart")
        assert not found.report.changes and found.before == found.after
