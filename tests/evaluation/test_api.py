"""Evaluation from Python, and on a Dask cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import slide_deploy
from slide_deploy.backends import open_image_file
from slide_deploy.errors import CheckFailed, InputError
from slide_deploy.evaluation.classifier import open_classifier
from slide_deploy.evaluation.run import evaluate_session
from slide_deploy.images.collection import read_collection
from tests.evaluation.digits import CHECKPOINT, ROOT, coarse, digit_pictures, digits_in


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coarse(tmp_path_factory.mktemp("bad") / "coarse.onnx", digits_in("onnx"))


@pytest.mark.slow
def test_files_against_the_trained_model(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[str] = []
    result = slide_deploy.evaluate(
        [digits_in("onnx"), bad], digit_pictures(), against=CHECKPOINT, progress=steps.append
    )
    assert capsys.readouterr() == ("", "")
    trained, right, wrong = result.rows
    assert trained.name == "digits.pth" and right.agreement and right.agreement.value == 1
    assert wrong.change and wrong.change.value < 0
    with pytest.raises(CheckFailed, match=r"coarse.onnx loses"):
        result.raise_if_dropped(0.5)
    result.raise_if_dropped(100)
    assert result.damaged == () and steps[-1] == "120 of 120 images"
    assert max(map(len, repr(result).splitlines())) <= 80
    assert "coarse.onnx" in repr(result)
    result.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(
        json.dumps(result.to_dict())
    )
    assert slide_deploy.merge_evaluations([tmp_path / "result.json"]) == result


def test_an_opened_file_gives_the_figures_of_the_command(bad: Path) -> None:
    result = slide_deploy.evaluate(bad, digit_pictures())
    found = evaluate_session(open_image_file(bad), read_collection(digit_pictures()))
    assert found.top1 == result.rows[0].top1 and found.top5 == result.rows[0].top5


def test_a_module_alone_is_evaluated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    image = torch.zeros(1, 3, 32, 32)
    result = slide_deploy.evaluate([], digit_pictures(), against=model, inputs=image)
    assert [row.runtime.split()[0] for row in result.rows] == ["torch"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = slide_deploy.evaluate([], digit_pictures(), against=model, inputs=image)
    assert again == result, "it computes in float32 whatever is set around the call"
    with pytest.raises(InputError, match="evaluate needs a network with a single image input"):
        slide_deploy.evaluate([], digit_pictures(), against=model, inputs=torch.zeros(1, 3072))


def test_shards_join_whether_saved_or_not(bad: Path, tmp_path: Path) -> None:
    files, data = [digits_in("onnx"), bad], digit_pictures(40)
    whole = slide_deploy.evaluate(files, data, batch=4)
    parts = [slide_deploy.evaluate(files, data, batch=4, shard=(index, 2)) for index in (2, 1)]
    parts[0].save(tmp_path / "part.json")
    assert slide_deploy.merge_evaluations([tmp_path / "part.json", parts[1]]) == whole
    with pytest.raises(InputError, match="`max_drop` needs the whole data set"):
        parts[0].raise_if_dropped(1)
    with pytest.raises(InputError, match="`max_drop` 200 is not a limit"):
        whole.raise_if_dropped(200)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"files": []}, "files is empty"),
        ({"data": "missing"}, "missing does not exist"),
        ({"shard": "5/4"}, "`shard` 5/4 does not exist"),
        ({"batch": 0}, "`batch` 0 is too small"),
        ({"sample": 0}, "`sample` 0 draws no image"),
    ],
)
def test_errors_name_arguments(arguments: dict[str, object], said: str) -> None:
    given = {"files": digits_in("onnx"), "data": digit_pictures(), **arguments}
    with pytest.raises(InputError, match=said):
        slide_deploy.evaluate(**given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_example_on_a_dask_cluster_is_one_evaluation(bad: Path, tmp_path: Path) -> None:
    files = [digits_in("onnx"), bad]
    command = [
        *(sys.executable, ROOT / "examples" / "evaluate_with_dask.py", *files),
        *("--data", digit_pictures(), "--shards", "3", "--workers", "2"),
        *("--json", tmp_path / "result.json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "3 of 3 parts" in done.stderr and "coarse.onnx" in done.stdout
    whole = slide_deploy.evaluate(files, digit_pictures())
    assert slide_deploy.merge_evaluations([tmp_path / "result.json"]) == whole


@pytest.mark.slow
def test_a_file_computes_in_what_it_claims(tmp_path: Path) -> None:
    result = slide_deploy.export(CHECKPOINT, to="onnx", precision="float16", out=tmp_path)
    opened = open_classifier(result.paths["onnx"], "digits")
    assert opened.file.session.runtime == "onnxruntime in float16"
