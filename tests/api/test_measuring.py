"""``bench``."""

import json
from pathlib import Path

import pytest

import slide_deploy
from benchmarks.result import read
from slide_deploy import BenchResult, InputError
from slide_deploy.hosts import load_checkpoint
from tests.support import GOLDEN, exported, exported_path

NANO = GOLDEN / "slide_swin_nano.pth"


@pytest.fixture(scope="module")
def files() -> list[Path]:
    result = exported(load_checkpoint(NANO))
    return [exported_path(result, format) for format in ("onnx", "openvino")]


@pytest.fixture(scope="module")
def result(files: list[Path], short_warm_up: None) -> BenchResult:
    steps: list[str] = []
    done = slide_deploy.bench(
        [files[0], files[1], files[0]], seconds=0.1, rounds=6, threads=1, progress=steps.append
    )
    assert any("slide_swin_nano.onnx" in step for step in steps)
    return done


@pytest.mark.slow
def test_bench_measures_files_against_each_other(result: BenchResult) -> None:
    assert result.passed and result.problems == ()
    first, *others = result.milliseconds
    assert first == "slide_swin_nano.onnx on onnxruntime:cpu"
    assert all(value > 0 for value in result.milliseconds.values())
    assert set(result.ratios) == set(others)
    for ratio, low, high in result.ratios.values():
        assert 0 < low <= ratio <= high
    assert [len(each.rounds) for each in result.run.measurements] == [6, 6, 6]
    assert result.run.measurements[0].candidate.configuration.threads == 1


@pytest.mark.slow
def test_the_result_prints_as_a_table_and_converts_to_json(result: BenchResult) -> None:
    text = repr(result)
    assert "slide_swin_nano.xml on openvino:cpu" in text and "median" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(json.loads(json.dumps(result.to_dict()))["measurements"]) == 3


@pytest.mark.slow
def test_the_suffix_selects_the_format_of_a_saved_result(
    result: BenchResult, tmp_path: Path
) -> None:
    for ending in ("json", "html", "md"):
        result.save(tmp_path / f"run.{ending}")
    assert read(tmp_path / "run.json") == result.run
    assert "<html" in (tmp_path / "run.html").read_text()
    assert "| " in (tmp_path / "run.md").read_text()
    with pytest.raises(InputError, match=r"end it in .json, .html or .md"):
        result.save(tmp_path / "run.txt")


@pytest.mark.slow
def test_a_failed_candidate_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07")
    done = slide_deploy.bench(str(broken), seconds=0.1, rounds=6)
    assert not done.passed and "broken.onnx" in done.problems[0]
    assert done.milliseconds == {} and done.ratios == {}
    assert "failed" in repr(done)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"files": []}, "files is empty"),
        ({"files": "nothing.onnx"}, "nothing.onnx does not exist"),
        ({"target": "tpu:0"}, "tpu:0"),
        ({"target": "coreml:cpu"}, "runs on none of the targets"),
        ({"rounds": 5}, "`rounds` 5"),
        ({"seconds": float("nan")}, "`seconds` nan"),
        ({"batch": 0}, "`batch` 0 is not a count"),
        ({"streams": ()}, r"`streams` \(\) is not a count"),
        ({"threads": -1}, "`threads` -1 is not a count"),
    ],
)
def test_bench_refuses_invalid_arguments(
    files: list[Path], given: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        slide_deploy.bench(given.pop("files", files), **given)  # type: ignore
