"""Slide-Swin-T itself: what it costs, and that a check of it is quick and small."""

from pathlib import Path

import pytest

from slide_deploy.graph_checks import inspect, read_graph
from slide_deploy.hosts.slide_swin.published import ARCHITECTURES
from slide_deploy.models.slide_swin import SlideSwin
from tests.graph_checks.measure import command_line, on_linux
from tests.graph_checks.small_models import Files, export
from tests.support import randomise

pytestmark = pytest.mark.slow

SECONDS, KILOBYTES = 3.0, 1_000_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    model = randomise(SlideSwin(ARCHITECTURES[0].config))
    assert isinstance(model, SlideSwin)
    return export(model, tmp_path_factory.mktemp("tiny"))


def test_macs_are_close_to_the_paper_and_alike_in_all_formats(tiny: Files) -> None:
    costs = {format: inspect(read_graph(path)) for format, path in tiny.items()}
    assert {cost.macs for cost in costs.values()} == {4_681_135_104}
    # The paper counts 4.6 G for the branched form with one kernel for all heads.
    assert costs["onnx"].macs == pytest.approx(ARCHITECTURES[0].paper_gflops * 1e9, rel=0.02)
    assert {cost.largest.size for cost in costs.values() if cost.largest} == {4 * 864 * 56 * 56}


@on_linux
@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
def test_check_takes_under_3_seconds_and_under_1_gigabyte(tiny: Files, format: str) -> None:
    assert bytes_of(tiny[format]) > 110_000_000
    measured = command_line("check", "--quiet", tiny[format])
    assert measured.status == 0
    assert measured.seconds < SECONDS
    assert measured.kilobytes < KILOBYTES


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in read_graph(path).files)
