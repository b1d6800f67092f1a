"""Presets set options, and options that the user gives override them."""

from pathlib import Path

import pytest

from slide_deploy.backends import open_file
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named
from slide_deploy.presets import PRESETS, preset_names
from slide_deploy.tasks.choices import GivenOptions, chosen
from tests.pages import presets_table
from tests.support import Golden

PAGE = Path(__file__).parents[1] / "docs" / "preprocessing.md"


def test_the_page_has_the_table_of_presets() -> None:
    assert presets_table() in PAGE.read_text()


@pytest.mark.parametrize("preset", PRESETS, ids=preset_names())
def test_a_preset_can_be_written(preset) -> None:
    for format in map(format_named, preset.formats):
        assert preset.precision in format.precisions
        assert not (format.takes_pictures and preset.embed_preprocessing and preset.dynamic_batch)
    choices = chosen(GivenOptions(preset=preset.name.upper()))
    assert choices.formats == preset.formats
    assert choices.precision == preset.precision
    assert choices.dynamic_batch == preset.dynamic_batch
    assert choices.lowering == preset.lowering
    assert choices.preprocessing.embedded == preset.embed_preprocessing
    assert choices.preprocessing.layout == preset.input_layout


@pytest.mark.parametrize("name", preset_names())
def test_given_options_override_a_preset(name: str) -> None:
    given = GivenOptions(
        preset=name,
        to=("coreml", "onnx"),
        precision="mixed",
        lowering="flat/2",
        dynamic_batch=name != "gpu",
        embed_preprocessing=False,
    )
    choices = chosen(given)
    assert choices.formats == ("coreml", "onnx")
    assert (choices.precision, choices.dynamic_batch) == ("mixed", name != "gpu")
    assert choices.lowering == "flat/2"
    assert not choices.preprocessing.embedded
    assert chosen(GivenOptions(preset=name, lowering="auto")).lowering == "auto"
    assert chosen(GivenOptions(preset=name, tune=True)).lowering == "auto"
    with pytest.raises(InputError, match=r"--tune finds .* --lowering flat names one"):
        chosen(GivenOptions(preset=name, tune=True, lowering="flat"))
    assert chosen(GivenOptions(preset=name, input_layout="NCHW")).preprocessing.layout == "nchw"


def test_without_a_preset_a_format_is_required() -> None:
    with pytest.raises(InputError, match=r"--to names no format.*--preset"):
        chosen(GivenOptions())
    choices = chosen(GivenOptions(to=("onnx",)))
    assert (choices.precision, choices.lowering) == ("float32", "auto")


@pytest.mark.slow
def test_a_command_with_a_preset(run, nano: Golden, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # A network this small with random weights exceeds the error limit of float16.
    asked = ("--preset", "gpu", "--precision", "float32", "--softmax")
    code, text, _ = run("export", nano.path, *asked, "--out", out)
    assert code == 0
    assert "pixels in onnx: mean and deviation are in the weights of" in " ".join(text.split())
    (path,) = out.glob("*.onnx")
    session = open_file(path)
    assert (session.inputs[0].dtype, session.inputs[0].shape[3]) == ("uint8", 3)
    assert (session.inputs[0].shape[0], session.outputs) == (None, ("probabilities",))
    assert run("verify", path, "--against", nano.path)[0] == 0
