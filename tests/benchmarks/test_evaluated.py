"""Accuracies from evaluations in runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import result
from benchmarks.evaluated import read_accuracies, stated
from benchmarks.record import Artifact
from slide_deploy.errors import InputError
from slide_deploy.evaluation.record import Record
from slide_deploy.evaluation.result_file import encode
from slide_deploy.evaluation.run import Wanted, evaluate
from slide_deploy.evaluation.sharding import Shard
from slide_deploy.evaluation.statistics import share
from slide_deploy.images.collection import read_collection
from tests.evaluation import pictures
from tests.evaluation.digits import digit_pictures, digits_in


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.many(tmp_path_factory.mktemp("data"), 20, 3)


def evaluated(data: Path, *hashes: str, shard: Shard | None = None) -> Record:
    files = [
        pictures.classifier(lambda colours: colours, f"{each}.onnx", sha256=each) for each in hashes
    ]
    return evaluate(files, read_collection(data), Wanted(shard=shard or Shard()))


def written(path: Path, record: Record) -> Path:
    path.write_text(encode(record))
    return path


def test_a_file_gets_the_accuracy_of_its_own_hash(data: Path, tmp_path: Path) -> None:
    record = evaluated(data, "a" * 64, "b" * 64)
    shares = read_accuracies([written(tmp_path / "r.json", record)])
    right = record.files[0].ranks.count(0)
    wanted = share(right, len(record.places))
    artifact = Artifact("a.onnx", "a" * 64, 1, published_accuracy=0.8)
    found = stated(artifact, shares)
    assert found.accuracy == wanted.value
    assert found.accuracy_interval == (wanted.low, wanted.high)
    assert found.published_accuracy is None
    other = replace(artifact, sha256="c" * 64)
    assert stated(other, shares) == other


def test_unusable_evaluations_are_refused(data: Path, tmp_path: Path) -> None:
    part = written(tmp_path / "part.json", evaluated(data, "a", shard=Shard(1, 2)))
    with pytest.raises(InputError, match=r"part.json is one of 2 parts: merge them"):
        read_accuracies([part])
    flat = written(tmp_path / "flat.json", evaluated(data / "1", "a"))
    with pytest.raises(InputError, match=r"flat.json has no accuracy"):
        read_accuracies([flat])
    first = written(tmp_path / "1.json", evaluated(data, "a"))
    second = written(tmp_path / "2.json", evaluated(data, "b", "a"))
    with pytest.raises(InputError, match=r"2.json and .*1.json are both about a.onnx"):
        read_accuracies([first, second])


@pytest.mark.full
def test_bench_and_report_plot_evaluated_accuracies(
    run, tmp_path: Path, short_warm_up: None
) -> None:
    files = [digits_in("onnx"), digits_in("onnx", dynamic_batch=True)]
    accuracy = tmp_path / "accuracy.json"
    assert run("evaluate", *files, "--data", digit_pictures(), "-q", "--json", accuracy)[0] == 0
    measured, page = tmp_path / "run.json", tmp_path / "run.html"
    quick = ("--seconds", 0.1, "--rounds", 6, "--threads", 1, "-q")
    asked = ("--accuracy", accuracy, "--json", measured, "--html", page)
    code, _, err = run("bench", *files, "--target", "onnxruntime:cpu", *quick, *asked)
    assert code == 0, err
    summary = json.loads(accuracy.read_text())["summary"]
    for each, row in zip(result.read(measured).measurements, summary, strict=True):
        assert each.artifact is not None and each.artifact.sha256 == row["sha256"]
        assert each.artifact.accuracy == row["top1"]["value"]
        assert each.artifact.accuracy_interval == (row["top1"]["low"], row["top1"]["high"])
    assert "Accuracy against latency" in page.read_text()
    assert "Accuracy against file size" in page.read_text()
    plain, again = tmp_path / "plain.json", tmp_path / "again.html"
    whole = result.read(measured)
    unknown = [
        replace(each, artifact=replace(each.artifact, accuracy=None, accuracy_interval=None))
        for each in whole.measurements
    ]
    result.write(replace(whole, measurements=tuple(unknown)), plain)
    assert run("report", plain, "--accuracy", accuracy, "--html", again)[0] == 0
    assert "Accuracy against file size" in again.read_text()
    code, _, err = run("report", plain, "--accuracy", plain)
    assert code == 2 and "is not a usable evaluation result" in err


@pytest.mark.slow
def test_a_result_of_other_files_is_refused_before_measuring(
    run, data: Path, tmp_path: Path
) -> None:
    other = written(tmp_path / "other.json", evaluated(data, "a"))
    code, out, err = run("bench", digits_in("onnx"), "--accuracy", other)
    assert (code, out) == (2, "")
    assert "--accuracy has no result for digits.onnx" in err
