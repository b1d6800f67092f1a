"""``export``: a network to files, and the result as data, on a terminal and in a notebook."""

import copy
import html
import json
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slide_deploy
from slide_deploy import CheckFailed, ExportResult, InputError
from slide_deploy.backends import open_file
from slide_deploy.lowerings import FORMS
from slide_deploy.tasks import contests, tune_first
from tests.api.networks import IMAGE, network, state
from tests.foreign.written_otherwise import OneBranch
from tests.support import GOLDEN

NANO = GOLDEN / "slide_swin_nano.pth"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    out = tmp_path_factory.mktemp("exported")
    return slide_deploy.export(
        network(), IMAGE, to=["onnx", "openvino"], out=out, output_names="logits"
    )


def test_a_user_module_is_exported_to_files(result: ExportResult) -> None:
    assert result.passed, result.problems
    assert result.problems == ()
    result.raise_if_failed()
    assert {path.name for path in result.paths.values()} == {"classifier.onnx", "classifier.xml"}
    assert result.manifest.exists()
    wanted = network().eval()(IMAGE).detach().numpy()
    for path in result.paths.values():
        assert np.allclose(open_file(path)({"image": IMAGE.numpy()})["logits"], wanted, atol=1e-4)


def test_the_result_has_every_figure(result: ExportResult) -> None:
    assert result.network == "Classifier"
    assert [layer.name for layer in result.certificate.folded] == ["attn"]
    file = result.file("onnx")
    assert list(file.lowerings) == ["attn.attention"]
    assert file.verification.worst.snr_db > 100
    with pytest.raises(InputError, match="coreml was not exported: there is onnx, openvino"):
        result.file("coreml")


def test_the_result_is_plain_data(result: ExportResult) -> None:
    again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert again["passed"] is True and again["certificate"]["status"] == "folded"
    assert [file["passed"] for file in again["files"]] == [True, True]
    assert again["files"][0]["verification"]["cases"][0]["agreement"]["max_relative"] < 1e-4
    assert again["files"][0]["lowerings"] == {
        name: str(each) for name, each in result.files[0].lowerings.items()
    }
    assert pickle.loads(pickle.dumps(result)) == result == copy.deepcopy(result)
    with pytest.raises(AttributeError):
        result.manifest = Path()  # type: ignore[misc]


def test_the_result_fits_a_terminal(result: ExportResult) -> None:
    text = repr(result)
    assert max(map(len, (line for line in text.splitlines() if "written" not in line))) <= 80
    assert "Export of Classifier: every file is right" in text
    assert "onnxruntime" in text and "pass" in text and "FAIL" not in text
    assert "fold: 1 slide attention, error in float64 at most" in text
    for path in (*result.paths.values(), result.manifest):
        assert str(path) in re.sub(r"\n  ", " ", text)
    assert "\x1b" not in text


def test_a_notebook_gets_a_table_in_which_everything_is_escaped(result: ExportResult) -> None:
    from dataclasses import replace

    evil = "<script>alert(1)</script>"
    page = replace(result, network=evil, remarks=(evil,))._repr_html_()
    assert "<script" not in page and page.count(html.escape(evil)) == 2
    assert page.count("<tr>") == 3 and "classifier.onnx" in page


def test_the_network_stays_as_it_was(tmp_path: Path) -> None:
    model = network().half()
    hook = model.head.register_forward_hook(lambda module, args, out: out * 2)
    image = IMAGE.clone()
    before = state(model)
    done = slide_deploy.export(
        model, {"image": image}, to="onnx", out=tmp_path, output_names=["logits"]
    )
    assert done.passed, done.problems
    assert state(model) == before and model.head._forward_hooks.keys() == {hook.id}
    assert torch.equal(image, IMAGE)


def test_a_network_without_slide_attention_is_exported_with_a_remark(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    done = slide_deploy.export(
        plain, IMAGE, to="onnx", out=tmp_path, input_names="image", output_names="logits"
    )
    assert done.passed, done.problems
    assert "fold: nothing to fold" in repr(done) and done.paths["onnx"].stem == "sequential"
    assert done.to_dict()["certificate"]["status"] == "nothing to fold"


def test_an_unfolded_layer_is_named_with_the_reason(tmp_path: Path) -> None:
    model = network()
    model.attn = OneBranch()
    done = slide_deploy.export(
        model, IMAGE, to="onnx", out=tmp_path, output_names="logits", lowering="flat"
    )
    (layer,) = done.certificate.left
    assert layer.name == "attn" and layer.reason in done._repr_html_()
    assert f"attn (OneBranch) stays as it is: {layer.reason}" in " ".join(repr(done).split())
    assert done.to_dict()["certificate"]["left"][0]["name"] == "attn"


class Pair(nn.Module):
    """Two inputs, one of them optional, and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, left: Tensor, right: Tensor | None = None, both: bool = True) -> object:
        assert right is not None and both
        return self.inner(left), {"right": [self.inner(right)]}


def test_inputs_are_positional_or_by_name_and_outputs_nested(tmp_path: Path) -> None:
    wanted = [network().eval()(each).detach().numpy() for each in (IMAGE, 2 * IMAGE)]
    given = ((IMAGE, (2 * IMAGE).numpy()), {"right": 2 * IMAGE, "left": IMAGE, "both": True})
    for folder, inputs in zip("ab", given, strict=True):
        done = slide_deploy.export(
            nn.DataParallel(Pair()), inputs, to="onnx", out=tmp_path / folder, keep_failed=True
        )
        assert done.file("onnx").verification.passed
        session = open_file(done.paths["onnx"])
        answers = session({"left": IMAGE.numpy(), "right": 2 * IMAGE.numpy()})
        for name, value in zip(("output_0", "1_right_0"), wanted, strict=True):
            (found,) = (answers[each] for each in answers if each.endswith(name))
            assert np.allclose(found, value, atol=1e-4)


@pytest.mark.slow
def test_an_export_may_run_in_a_thread(tmp_path: Path) -> None:
    found: list[ExportResult] = []

    def work() -> None:
        found.append(slide_deploy.export(NANO, to="onnx", out=tmp_path, lowering="flat"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].passed


@pytest.mark.full
def test_tune_races_the_forms_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A real race, of two forms.
    monkeypatch.setattr(contests, "FORMS", {name: FORMS[name] for name in ("depthwise", "flat")})
    monkeypatch.setattr(tune_first, "STRIPS", (1, 2))
    monkeypatch.setattr(tune_first, "SECONDS", 0.1)
    done = slide_deploy.export(
        network(), IMAGE, to="onnx", out=tmp_path / "out", output_names="logits", tune=True
    )
    assert done.passed
    (lowering,) = done.file("onnx").lowerings.values()
    assert "on this machine" in lowering.source and "nearest" not in lowering.source
    (table,) = tmp_path.glob("slide-deploy/*.json")
    (entry,) = json.loads(table.read_text())["entries"]
    assert entry["command"] == "slide_deploy.export(..., to=['onnx'], tune=True)"


@pytest.mark.slow
def test_options_match_those_of_the_command_line(tmp_path: Path) -> None:
    steps: list[str] = []
    done = slide_deploy.export(
        network(),
        (IMAGE,),
        to="onnx",
        out=str(tmp_path / "new"),
        name="mine",
        input_names=["picture"],
        output_names=["scores"],
        dynamic_batch=True,
        lowering="running-mean/2",
        keep_failed=True,  # the policy may know other names
        progress=steps.append,
    )
    path = tmp_path / "new" / "mine.onnx"
    assert done.paths == {"onnx": path}
    assert {str(each) for each in done.file("onnx").lowerings.values()} == {"running-mean/2"}
    assert "write onnx" in steps and steps[0] == "load the network"
    session = open_file(path)
    assert session.inputs[0].name == "picture" and session.inputs[0].shape[0] is None
    assert session({"picture": torch.cat([IMAGE] * 3).numpy()})["scores"].shape == (3, 5)


def test_sizes_may_stay_open(tmp_path: Path) -> None:
    open_sizes = {"image": {2: "height", 3: "width"}}
    done = slide_deploy.export(
        network(), IMAGE, to="onnx", out=tmp_path, open_sizes=open_sizes, keep_failed=True
    )
    assert done.file("onnx").verification.passed
    session = open_file(done.paths["onnx"])
    assert session({"image": torch.randn(1, 3, 32, 20).numpy()})[session.outputs[0]].shape == (1, 5)


@pytest.mark.slow
def test_export_takes_a_path_or_a_loaded_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    by_path = slide_deploy.export(NANO, to="ONNX", out=tmp_path / "a")
    loaded = slide_deploy.export(
        slide_deploy.load(NANO), to=("onnx",), out=tmp_path / "b", name="other"
    )
    assert by_path.passed and loaded.passed
    assert by_path.paths["onnx"].name == "slide_swin_nano.onnx"
    assert loaded.paths["onnx"].name == "other.onnx"
    features = slide_deploy.export(str(NANO), to="onnx", out=tmp_path / "c", features=True)
    assert features.files[0].verification.outputs[0] == "stage0"
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_export_takes_a_policy_or_its_path(tmp_path: Path) -> None:
    rules = tmp_path / "small.toml"
    rules.write_text("[limits]\nparameters = 10\n")
    done = slide_deploy.export(NANO, to="onnx", out=tmp_path, policy=rules)
    assert not done.passed and done.paths == {}
    assert not list(tmp_path.glob("*.onnx"))
    assert "10 are allowed" in done.problems[0]
    assert "NOT every file is right" in " ".join(repr(done).split())
    assert "FAIL" in done._repr_html_()
    with pytest.raises(CheckFailed, match=r"^The onnx file breaks SD0\d\d"):
        done.raise_if_failed()
    from slide_deploy.graph_checks import load_policy

    again = slide_deploy.export(NANO, to="onnx", out=tmp_path, policy=load_policy(rules))
    assert again.problems == done.problems
    assert slide_deploy.export(NANO, to="onnx", out=tmp_path, policy="portable").passed


class Wrong(nn.Module):
    """Has different outputs once it is traced."""

    def forward(self, image: Tensor) -> Tensor:
        grown = 1.1 if torch.compiler.is_exporting() else 1.0
        return image.mean((2, 3)) * grown


def test_a_file_that_disagrees_is_removed_and_reported(tmp_path: Path) -> None:
    done = slide_deploy.export(Wrong(), IMAGE, to="onnx", out=tmp_path, output_names="logits")
    assert not done.passed and not list(tmp_path.glob("*.onnx"))
    with pytest.raises(CheckFailed, match=r"disagrees with Wrong on: .*noise.*it was removed"):
        done.raise_if_failed()
    assert not issubclass(CheckFailed, InputError)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"to": "tflite"}, "tflite is not a format: choose one of"),
        ({"to": []}, "`to` names no format"),
        ({"inputs": None}, "given without inputs: give example inputs"),
        ({"inputs": torch.zeros(1, 4, 8, 8)}, "cannot be run"),
        ({"inputs": {"picture": IMAGE}}, "does not take these inputs"),
        ({"inputs": ()}, "does not take these inputs|given no tensor"),
        ({"features": True}, "`features` is for checkpoints"),
        ({"model": 3}, "of type int: give a torch.nn.Module"),
        ({"model": "net.onnx", "inputs": None}, "net.onnx"),
        ({"model": NANO}, "`inputs` is for your own module"),
        (
            {"model": NANO, "inputs": None, "output_names": "y"},
            "`output_names` is for your own module",
        ),
        ({"model": NANO, "inputs": None, "open_sizes": {"image": {0: "n"}}}, "`open_sizes`"),
        ({"lowering": "fast"}, "choose one of depthwise"),
        ({"lowering": "flat", "tune": True}, "`tune` finds the fastest form and `lowering` flat"),
        ({"precision": "float8"}, "onnx is not written in float8: choose .* as `precision`"),
        ({"policy": "nowhere.toml"}, "nowhere.toml cannot be read"),
        ({"name": "a/b"}, "not a file name"),
        ({"name": ""}, "not a file name"),
        ({"out": ""}, "out` is empty"),
    ],
)
def test_invalid_arguments_are_refused_by_name(
    given: dict[str, object], text: str, tmp_path: Path
) -> None:
    arguments: dict[str, object] = {"to": "onnx", "out": tmp_path / "out", "inputs": IMAGE}
    arguments |= given
    with pytest.raises(InputError, match=text):
        slide_deploy.export(arguments.pop("model", network()), **arguments)  # type: ignore
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_without_force(result: ExportResult) -> None:
    out = result.manifest.parent
    with pytest.raises(InputError, match=r"give `force` to replace it, or another `out`"):
        slide_deploy.export(network(), IMAGE, to="onnx", out=out, output_names="logits")
    before = result.paths["onnx"].stat().st_mtime_ns
    slide_deploy.export(network(), IMAGE, to="onnx", out=out, output_names="logits", force=True)
    assert result.paths["onnx"].stat().st_mtime_ns > before


def test_options_do_not_change_a_loaded_network(tmp_path: Path) -> None:
    loaded = slide_deploy.load(NANO)
    for argument in ("features", "dynamic_batch"):
        with pytest.raises(InputError, match=f"give `{argument}` to slide_deploy.load"):
            slide_deploy.export(loaded, to="onnx", out=tmp_path, **{argument: True})  # type: ignore


SCRIPT = """
import sys, slide_deploy
to = sys.argv[1].split(",")
done = slide_deploy.export(sys.argv[2], to=to, out=sys.argv[3], progress=to == ["onnx"])
for path in done.paths.values():
    slide_deploy.verify(path, sys.argv[2], locate=True)
    slide_deploy.check(path)
"""


@pytest.mark.parametrize(
    "formats",
    [
        pytest.param("onnx", marks=pytest.mark.slow),
        pytest.param("onnx,openvino,coreml", marks=pytest.mark.full),
    ],
)
def test_nothing_is_printed_unless_asked_for(formats: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, formats, str(NANO), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=GOLDEN.parents[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    if formats == "onnx":
        assert "write onnx" in done.stderr
    else:
        assert done.stderr == ""
