"""No pattern that the exporters write is answered wrongly, whatever sizes coincide.

The long tests run three maps, and of slide attention every form and every number of heads with
either batch; ``make runtime-bugs`` sweeps all maps, and pairs everything.
"""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from slide_deploy.graph_checks.rules.runtime_bugs import RUNTIME_BUGS
from slide_deploy.lowerings import FORMS
from tests.runtime_bugs.patterns import Head, Map, other_parts, slide_parts, trained, window_parts
from tests.runtime_bugs.sweep import Outcome, run_everywhere, sweep, written_parts

pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
pytest.importorskip("coremltools")

PatternsOf = Callable[[Map], dict[str, nn.Module]]


class HeadsFirst(nn.Module):
    """Attention that cuts tokens into heads without a transpose, and transposes the result.

    It is the known bug of OpenVINO where there are as many heads as tokens.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(nn.Linear(channels, channels) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        _, positions, channels = tokens.shape
        split = (-1, self.heads, positions, channels // self.heads)
        q, k, v = (project(tokens).reshape(split) for project in self.qkv)
        return ((q @ k.transpose(2, 3)).softmax(dim=-1) @ v).transpose(1, 2)


def wrong(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome) for outcome in outcomes if not outcome.right]


@pytest.mark.parametrize(
    "open_batch",
    [pytest.param(False, marks=pytest.mark.full), pytest.param(True, marks=pytest.mark.full)],
)
def test_every_runtime_computes_slide_attention_correctly(open_batch: bool) -> None:
    """As many positions as channels and as offsets; two thirds of the pairs of form and heads."""
    map = Map(3, 3, 9)
    every = slide_parts(map)
    heads = [name for name in every if "heads" in name]
    assert len(heads) == 3
    parts = trained({name: every[name] for name in (*heads, "slide without biases")})
    written = written_parts(parts)
    for turn, form in enumerate(FORMS):
        for place, name in enumerate(heads):
            if (turn + place) % 3 != open_batch:
                del written[f"{name}, {form}"]
    assert len(written) == len(FORMS) + 1
    assert {name for name, _ in written.values()} == parts.parts.keys()
    outcomes = list(run_everywhere(map, parts, written, open_batch))
    assert len({outcome.runtime for outcome in outcomes}) == (6 if open_batch else 4)
    assert wrong(outcomes) == []


@pytest.mark.parametrize(
    ("map", "patterns"),
    [
        # As many heads as positions; as many windows as positions in each.
        pytest.param(Map(4, 4, 16), window_parts, id="windows", marks=pytest.mark.full),
        pytest.param(Map(2, 2, 4), other_parts, id="others", marks=pytest.mark.full),
    ],
)
def test_every_runtime_computes_the_emitted_patterns_correctly(
    map: Map, patterns: PatternsOf
) -> None:
    outcomes = list(sweep(map, trained(patterns(map))))
    assert len({outcome.runtime for outcome in outcomes}) == 6
    assert wrong(outcomes) == []


def test_the_sweep_finds_the_known_bug() -> None:
    """Among other parts, in the same file: if this were hidden, so might be another."""
    map = Map(2, 2, 16)
    attentions = {f"heads first {heads}": HeadsFirst(16, heads) for heads in (4, 8)}
    parts = trained({"head": Head(16, 16), **attentions})
    written = {name: (name, part) for name, part in parts.parts.items()}
    found = [
        (outcome.part, outcome.runtime)
        for outcome in run_everywhere(map, parts, written, open_batch=False)
        if not outcome.right
    ]
    met = openvino.__version__.split("-")[0] in RUNTIME_BUGS[0].versions
    runtimes = ["openvino", "openvino on the ONNX file"] if met else []
    assert found == [(f"heads first {map.positions}", runtime) for runtime in runtimes]
