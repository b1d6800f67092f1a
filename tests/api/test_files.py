"""``verify``, ``check`` and ``predict``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import slide_deploy
from slide_deploy import CheckFailed, InputError
from tests.api.networks import IMAGE, Classifier, network, state
from tests.support import GOLDEN

NANO = GOLDEN / "slide_swin_nano.pth"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("file")
    done = slide_deploy.export(network(), IMAGE, to="onnx", out=out, output_names="logits")
    return done.paths["onnx"]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slide_deploy.export(NANO, to="onnx", out=tmp_path_factory.mktemp("nano")).paths["onnx"]


def other() -> Classifier:
    model = network()
    with torch.no_grad():
        model.attn.proj.weight.mul_(1.5)
    return model


def plain(text: str) -> str:
    """Join wrapped lines."""
    return text.replace("\n  ", " ")


def test_verify_agrees_with_the_network_that_a_file_came_from(file: Path) -> None:
    model = network()
    before = state(model)
    verdict = slide_deploy.verify(str(file), model, IMAGE, locate=True)
    assert verdict.passed and not verdict.names_another_source
    assert verdict.first_divergence is not None and verdict.first_divergence.first_wrong is None
    assert state(model) == before
    verdict.raise_if_failed()
    assert " agrees with Classifier" in plain(repr(verdict)) and "all 4 agree" in repr(verdict)
    lines = [line for line in repr(verdict).splitlines() if str(file) not in line]
    assert max(map(len, lines)) <= 80
    assert json.loads(json.dumps(verdict.to_dict()))["passed"] is True


def test_verify_disagrees_with_another_network_and_names_the_layer(file: Path) -> None:
    verdict = slide_deploy.verify(file, other(), IMAGE, locate=True)
    assert not verdict.passed and verdict.names_another_source
    assert verdict.first_divergence is not None
    assert (
        verdict.first_divergence.first_wrong is not None
        and "attn" in verdict.first_divergence.first_wrong
    )
    text = plain(repr(verdict))
    assert "DISAGREES" in text and "FAIL" in text and "other weights" in text
    with pytest.raises(CheckFailed, match=r"disagrees with Classifier on: .*noise"):
        verdict.raise_if_failed()


@pytest.mark.slow
def test_verify_takes_checkpoints_and_their_features(nano: Path, tmp_path: Path) -> None:
    assert slide_deploy.verify(nano, NANO).passed
    assert slide_deploy.verify(nano, slide_deploy.load(NANO), precision="float16").passed
    maps = slide_deploy.export(NANO, to="onnx", out=tmp_path, features=True, keep_failed=True)
    assert slide_deploy.verify(maps.paths["onnx"], str(NANO)).verification.outputs[0] == "stage0"


@pytest.mark.parametrize(
    ("model", "inputs", "given", "text"),
    [
        (network(), None, {}, "given without inputs"),
        (network(), torch.zeros(1, 3, 8, 8), {}, "takes image as"),
        (
            network(),
            IMAGE,
            {"precision": "float8"},
            "float8 is not a precision: choose one",
        ),
        (NANO, IMAGE, {}, "`inputs` is for your own module"),
        (NANO, None, {}, "takes image as"),
        ("a.onnx", None, {}, "a.onnx"),
    ],
)
def test_verify_refuses_inputs_that_do_not_fit(
    file: Path, model: object, inputs: object, given: dict[str, str], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        slide_deploy.verify(file, model, inputs, **given)  # type: ignore[arg-type]


def test_check_reports_violations(file: Path, tmp_path: Path) -> None:
    assert slide_deploy.check(file).passed
    rules = tmp_path / "small.toml"
    rules.write_text("[limits]\nparameters = 10\n")
    report = slide_deploy.check(str(file), rules)
    assert not report.passed and report.policy == "small"
    assert any("10 are allowed" in each.message for each in report.violations)
    assert slide_deploy.check(file, "portable").policy == "portable"
    with pytest.raises(InputError, match="does not exist"):
        slide_deploy.check("nothing.onnx")
    with pytest.raises(InputError, match=r"cannot be read: .*check `policy`"):
        slide_deploy.check(file, "nothing.toml")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


def test_predict_names_classes(nano: Path, picture: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\ndog\n")
    by_file = slide_deploy.predict(nano, picture, labels=names, top=4)
    assert {guess.name for guess in by_file} == {"ant", "bee", "cat", "dog"}
    assert sum(guess.probability for guess in by_file) == pytest.approx(1)
    shares = [guess.probability for guess in by_file]
    assert shares == sorted(shares, reverse=True)
    listed = slide_deploy.predict(nano, [picture, str(picture)], labels=["ant"], top=1)
    assert len(listed) == 2 and listed[0].index == by_file[0].index


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"images": []}, "images is empty"),
        ({"top": 0}, "`top` 0 returns no class"),
        ({"labels": "nothing.txt"}, "nothing.txt cannot be read as class names"),
        ({"output": "boxes"}, "no output boxes"),
        ({"image_size": -1}, "`image_size` -1 is not a size"),
    ],
)
def test_predict_refuses_invalid_arguments(
    nano: Path, picture: Path, given: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        slide_deploy.predict(nano, given.pop("images", picture), **given)  # type: ignore
