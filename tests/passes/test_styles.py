"""Networks of every style compute the same after every pass, alone and in order."""

from functools import cache

import pytest
from torch.export import ExportedProgram

from slide_deploy.formats import COREML, ONNX, OPENVINO
from tests.passes.rewriting import LIMIT, program, ranks, rewritten
from tests.passes.transformers import NETWORKS
from tests.support import random_swin

OWN = {
    "slide windows": (lambda: random_swin(num_slide_stages=0, window_size=4), (3, 32, 32)),
    "slide heads": (
        lambda: random_swin(
            image_size=(16, 16),
            num_slide_stages=0,
            depths=(2,),
            num_heads=(4,),
            embed_dim=16,
            window_size=2,
        ),
        (3, 16, 16),
    ),
}
ALL = NETWORKS | OWN


@cache
def traced(name: str, batch: int) -> ExportedProgram:
    """Trace a network, with an open batch if there are several images."""
    make, shape = ALL[name]
    return program(make(), (batch, *shape), open_batch=batch > 1)


def styles() -> list[object]:
    """Quick: every fourth style with three images; long: the others; full: one image, which is a
    case of its own to few passes.
    """
    quick = list(ALL)[::4]
    return [
        pytest.param(
            name,
            batch,
            id=f"{name}-{batch}",
            marks=pytest.mark.full if batch == 1 else [] if name in quick else pytest.mark.slow,
        )
        for name in ALL
        for batch in (1, 3)
    ]


@pytest.mark.parametrize(("name", "batch"), styles())
def test_every_format_keeps_what_a_network_computes(name: str, batch: int) -> None:
    for format in (ONNX, OPENVINO, COREML):
        found = rewritten(traced(name, batch), *format.passes)
        assert found.error < LIMIT
        assert ranks(found.program) <= 4


def sixths() -> list[object]:
    """Pair every style with every pass: a sixth is quick, half is slow."""
    slow, full = pytest.mark.slow, pytest.mark.full
    return [
        pytest.param(
            name,
            ONNX.passes[sixth::6],
            id=f"{name}-{sixth}",
            marks=([], slow, slow, slow, full, full)[(sixth - place) % 6],
        )
        for place, name in enumerate(ALL)
        for sixth in range(6)
    ]


@pytest.mark.parametrize(("name", "passes"), sixths())
def test_each_pass_alone_keeps_what_a_network_computes(name: str, passes: tuple[str, ...]) -> None:
    for each in passes:
        assert rewritten(traced(name, 3), each).error < LIMIT


def test_an_open_batch_stays_open() -> None:
    _, shape = ALL["windows"]
    for format in (ONNX, OPENVINO, COREML):
        assert rewritten(traced("windows", 3), *format.passes, shapes=[(5, *shape)]).error < LIMIT
