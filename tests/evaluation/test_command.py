"""``slide-deploy evaluate`` as a user runs it, on the trained digits."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import slide_deploy
from slide_deploy.backends import open_image_file
from slide_deploy.evaluation.result_file import read
from slide_deploy.evaluation.run import evaluate_session
from slide_deploy.evaluation.trained import trained_classifier
from slide_deploy.images.collection import read_collection
from tests.evaluation import pictures
from tests.evaluation.digits import CHECKPOINT, coarse, digit_pictures, digits_in

COUNT = 120


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coarse(tmp_path_factory.mktemp("bad") / "coarse.onnx", digits_in("onnx"))


@pytest.mark.slow
def test_files_are_held_against_the_trained_model(run, tmp_path: Path, bad: Path) -> None:
    files = [digits_in("onnx"), digits_in("openvino", dynamic_batch=True), bad]
    result = tmp_path / "result.json"
    code, out, err = run(
        *("evaluate", *files, "--data", digit_pictures(), "--against", CHECKPOINT),
        *("--max-drop", 0.5, "--json", result),
    )
    assert code == 1
    assert re.search(
        r"slide-deploy: coarse.onnx loses \d+\.\d\d points of top-1 against digits.pth, more than "
        r"0.5\.",
        err,
    )
    assert f"{COUNT} of {COUNT} pictures, 0:00 left" in err
    assert max(map(len, out.splitlines())) <= 100
    assert "10 classes by number" in out and "digits.pth, the trained network" in out
    summary = json.loads(result.read_text())["summary"]
    assert [row["name"] for row in summary] == [
        "digits.pth",
        *("digits.onnx", "digits.xml", "coarse.onnx"),
    ]
    trained, onnx, openvino, rounded = summary
    assert trained["top1"]["of"] == COUNT and trained["agreement"] is None
    assert onnx["agreement"]["count"] == openvino["agreement"]["count"] == COUNT
    assert rounded["agreement"]["count"] < COUNT and rounded["change"]["value"] < -0.005


def test_figures_are_those_of_predict(run, tmp_path: Path, bad: Path) -> None:
    data = digit_pictures()
    code, _, _ = run("evaluate", bad, "--data", data, "--json", tmp_path / "r.json")
    assert code == 0
    found = read(tmp_path / "r.json").files[0]
    images = sorted(data.rglob("*.png"), key=lambda each: each.relative_to(data).as_posix())
    guesses = slide_deploy.predict(bad, images, top=5)
    firsts = [guesses[5 * index].index for index in range(COUNT)]
    fives = [[each.index for each in guesses[5 * index : 5 * index + 5]] for index in range(COUNT)]
    truth = [int(each.parent.name) for each in images]
    assert list(found.predicted) == firsts
    assert [rank == 0 for rank in found.ranks] == [
        a == b for a, b in zip(firsts, truth, strict=True)
    ]
    assert [rank < 5 for rank in found.ranks] == [b in a for a, b in zip(fives, truth, strict=True)]


@pytest.mark.slow
def test_shards_on_the_command_line_join_to_the_whole(run, tmp_path: Path, bad: Path) -> None:
    common = ("evaluate", digits_in("onnx"), bad, "--data", digit_pictures(), "--quiet")
    assert run(*common, "--json", tmp_path / "whole.json") == (0, "", "")
    for index in (1, 2, 3):
        code, out, err = run(*common, "--shard", f"{index}/3", "--json", tmp_path / f"{index}.json")
        assert (code, out, err) == (0, "", "")
    parts = [tmp_path / f"{index}.json" for index in (2, 3, 1)]
    assert run("evaluate", "--merge", *parts, "-q", "--json", tmp_path / "merged.json")[0] == 0
    assert (tmp_path / "merged.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    code, out, err = run("evaluate", "--merge", *parts, "--max-drop", 0.5)
    assert code == 1 and "coarse.onnx loses" in err and "the first file" in out
    code, _, err = run("evaluate", "--merge", *parts[:2])
    assert code == 2 and "Shard 1 of 3 is missing" in err
    code, out, _ = run(
        "evaluate", bad, "--data", digit_pictures(), "--shard", "16/16", "--batch", 64
    )
    assert code == 0 and "0 of 120 images" in out and "shard 16 of 16" in out


def test_pictures_that_cannot_be_read_are_named_skipped_and_counted(run, tmp_path: Path) -> None:
    data = tmp_path / "digits"
    shutil.copytree(digit_pictures(), data)
    whole = next((data / "3").glob("*.png")).read_bytes()
    # No text in UTF-8: it must not end the command when it is printed.
    Path(os.fsdecode(os.fsencode(data / "3") + b"/\xff\xfe.png")).touch()
    (data / "3" / "half.png").write_bytes(whole[: len(whole) // 2])
    pictures.damaged(data / "5" / "header.png")
    (data / "5" / "empty.jpg").touch()
    (data / "5" / "gone.png").symlink_to(tmp_path / "nowhere")
    (data / "5" / "notes.txt").write_text("no picture")
    (data / "Thumbs.db").write_text("")
    code, out, err = run("evaluate", digits_in("onnx"), "--data", data)
    assert code == 0 and "Traceback" not in err
    assert f"{COUNT} of {COUNT + 5} images" in out
    assert "2 files skipped that are not images" in out
    assert "5 unreadable images skipped: " in out
    for name in ("half.png", "header.png", "empty.jpg", "gone.png"):
        assert name in out


def test_files_of_one_name_are_told_apart_by_their_folders(run, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files = [digits_in("onnx"), shutil.copy(digits_in("onnx"), tmp_path / "b" / "digits.onnx")]
    command = ("evaluate", *files, "--data", digit_pictures(40), "--json", tmp_path / "r.json")
    assert run(*command)[0] == 0
    assert [each.name for each in read(tmp_path / "r.json").files] == list(map(str, files))


def test_a_table_and_names_of_classes(run, tmp_path: Path) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "names.txt").write_text("\n".join(words) + "\n")
    data = digit_pictures()
    rows = [f"{path},{words[int(path.parent.name)]}" for path in data.rglob("*.png")]
    (tmp_path / "val.csv").write_text("path,label\n" + "\n".join(rows))
    command = ("evaluate", digits_in("onnx"), "--data", tmp_path / "val.csv")
    code, out, _ = run(*command, "--labels", tmp_path / "names.txt", "--json", tmp_path / "a.json")
    assert code == 0 and "10 classes by name" in out
    run("evaluate", digits_in("onnx"), "--data", data, "--json", tmp_path / "b.json")
    top1 = [read(tmp_path / f"{each}.json").files[0].ranks.count(0) for each in "ab"]
    assert top1[0] == top1[1]
    (tmp_path / "names.txt").write_text("\n".join(words[:9]))
    code, _, err = run(*command, "--labels", tmp_path / "names.txt")
    assert code == 2 and "nine is not a class name of the file" in err


@pytest.mark.slow
def test_a_file_that_takes_pixels_and_holds_names(run, tmp_path: Path) -> None:
    """Its network is prepared as it was trained, and the names of folders are those of the file."""
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "names.txt").write_text("\n".join(words) + "\n")
    for path in digit_pictures().rglob("*.png"):
        place = tmp_path / "val" / words[int(path.parent.name)]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    export = ("export", CHECKPOINT, "--to", "onnx", "--out", tmp_path / "out", "-q")
    given = ("--embed-preprocessing", "--labels", tmp_path / "names.txt")
    code, _, err = run(*export, *given)
    assert code == 0, err
    command = ("evaluate", tmp_path / "out" / "digits.onnx", "--against", CHECKPOINT)
    code, out, err = run(*command, "--data", tmp_path / "val", "--json", tmp_path / "r.json")
    assert code == 0, err
    assert "10 classes by name" in out and "pixels from 0 to 255" in out
    trained, file = json.loads((tmp_path / "r.json").read_text())["summary"]
    assert file["agreement"]["count"] == COUNT and trained["top1"]["value"] > 0.9
    opened = open_image_file(tmp_path / "out" / "digits.onnx")
    alone = evaluate_session(opened, read_collection(tmp_path / "val"))
    assert alone.top1.count == file["top1"]["count"]


def test_folders_in_another_number_than_classes_are_refused(run, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        pictures.colour(tmp_path / "pets" / name / "x.png", 1)
    code, _, err = run("evaluate", digits_in("onnx"), "--data", tmp_path / "pets")
    assert code == 2
    assert "has 2 classes and the file 10, so sorted order cannot match them: give" in err


@pytest.fixture
def own(tmp_path: Path, monkeypatch) -> tuple[str, ...]:
    """A small network of a user's own, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten(), "
        "nn.Linear(8 * 7 * 7, 10))\n"
    )
    return ("--model", "net.py:build", "--input", "image=1x3x32x32")


def test_a_network_of_ones_own_is_a_baseline(run, own: tuple[str, ...]) -> None:
    assert run("export", *own, "--to", "onnx", "--out", "out", "-q")[0] == 0
    code, out, err = run(
        *("evaluate", "out/build.onnx", "--data", digit_pictures(), *own, "--max-drop", 0)
    )
    assert code == 0, err
    assert "the trained network" in out
    row = re.search(r"build.onnx.*", out)
    assert row and " 100 " in row[0] and " 0.00 " in row[0]


def test_unlabelled_pictures_tell_agreement(run, tmp_path: Path, bad: Path) -> None:
    for path in list(digit_pictures().rglob("*.png"))[:30]:
        shutil.copy(path, tmp_path / path.name)
    code, out, _ = run("evaluate", digits_in("onnx"), bad, "--data", tmp_path)
    assert code == 0 and "agrees %" in out and "top-1" not in out
    assert "has images without classes: only agreement is known" in out


REFUSED = {
    ("--data", "DATA"): "Nothing to evaluate: give files, or the trained network with --against.",
    ("FILE",): "No pictures: give a folder",
    ("FILE", "--data", "missing"): "missing does not exist",
    ("FILE", "--data", "DATA", "--shard", "4/3"): "--shard 4/3 does not exist: give 1/3 to 3/3",
    ("FILE", "--data", "DATA", "--shard", "third"): "--shard third is not a shard: give 3/16",
    ("FILE", "--data", "DATA", "--shard", "0/0"): "is not a shard",
    ("FILE", "--data", "DATA", "--max-drop", "0.5"): "needs a baseline",
    ("FILE", "--data", "DATA", "--max-drop", "-1"): "--max-drop -1 is not a limit",
    ("FILE", "FILE", "--data", "FLAT", "--max-drop", "1"): "needs images with known classes",
    ("FILE", "--data", "FLAT"): "has images without classes",
    (
        "FILE",
        "FILE",
        "--data",
        "DATA",
        "--shard",
        "1/2",
        "--max-drop",
        "1",
    ): "needs the whole data set",
    ("FILE", "--data", "DATA", "--against", "FILE"): "is a model file: give it as the first",
    ("model.pth", "--data", "DATA"): "model.pth is a checkpoint: give it with --against",
    ("FILE", "--data", "DATA", "--heads", "1,2"): "the checkpoint with --against",
    ("FILE", "--data", "DATA", "--output", "boxes"): "has no output boxes",
    (
        "FILE",
        "--data",
        "DATA",
        "--labels",
        "missing.txt",
    ): "missing.txt cannot be read as class names",
    ("FILE", "--data", "DATA", "--image-size", "64"): "change --image-size",
    ("--merge",): "nothing to merge",
    ("--merge", "missing.json"): "missing.json cannot be read",
    ("--merge", "a.json", "a.json"): "a.json is given twice",
    ("--merge", "a.json", "--data", "DATA"): "leave out --data",
    ("--merge", "a.json", "--against", "b.pth"): "leave out --against",
    ("--merge", "a.json", "--sample", "3"): "leave out --sample",
    ("--merge", "a.json", "--seed", "0"): "leave out --seed",
    ("--merge", "a.json", "--output", "x"): "leave out --output",
    ("--merge", "a.json", "--batch", "8"): "leave out --batch",
    ("--merge", "a.json", "--image-size", "64"): "leave out --image-size",
    ("--merge", "a.json", "--heads", "1,2"): "leave out --heads",
    ("--merge", "FILE"): "is not a usable evaluation result",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_cannot_be_used_is_one_sentence(
    run, tmp_path: Path, monkeypatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = digit_pictures()
    places = {"FILE": digits_in("onnx"), "DATA": data, "FLAT": data / "3"}
    code, out, err = run("evaluate", *(places.get(each, each) for each in arguments))
    assert (code, out) == (2, "")
    assert REFUSED[arguments] in err.splitlines()[-1], err
    assert err.splitlines()[-1].startswith("slide-deploy: ")


def test_json_on_standard_output_stands_alone(run) -> None:
    command = ("evaluate", digits_in("onnx"), "--data", digit_pictures(), "--sample", 8)
    code, out, err = run(*command, "--json", "-")
    assert (code, err) == (0, "")
    record = json.loads(out)["record"]
    assert record["data"]["sample"] == record["data"]["pictures"] == len(record["places"]) == 8


def test_the_network_is_prepared_as_it_was_trained_whatever_a_file_says(
    run, own: tuple[str, ...]
) -> None:
    wrong = ("--embed-preprocessing", "--mean", "0.9,0.9,0.9", "--deviation", "0.1,0.1,0.1")
    assert run("export", *own, "--to", "onnx", "--out", "out", "-q", *wrong)[0] == 0
    command = ("evaluate", "--data", digit_pictures(), *own)
    assert run(*command, "--json", "alone.json")[0] == 0
    code, out, _ = run(*command, "out/build.onnx", "--json", "r.json")
    assert code == 0
    assert read(Path("r.json")).files[0] == read(Path("alone.json")).files[0]
    assert re.search(
        r"build.onnx uses mean 0.9,0.9,0.9 and deviation 0.1,0.1,0.1, and \S*build mean ",
        " ".join(out.split()),
    )


def test_the_network_takes_what_its_checkpoint_states() -> None:
    stated = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    trained = replace(slide_deploy.load(CHECKPOINT), normalisation=stated)
    taken = trained_classifier(trained).taken
    assert (taken.mean, taken.deviation) == stated
