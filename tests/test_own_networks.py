"""Commands on user networks: ``--model``, ``--weights-file`` and ``--input``."""

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from slide_deploy.cli.source import Source
from slide_deploy.tasks.contests import find_attentions

NET = """
import torch
from torch import nn
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from tests.foreign.classes import ForeignAttention
from tests.foreign.written_otherwise import OneBranch

print("imported")


class Classifier(nn.Module):
    def __init__(self, dim=8, foreign=False):
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.BatchNorm2d(dim)
        config = SlideAttentionConfig(dim, 2, 3)
        self.attn = ForeignAttention(dim, 2) if foreign else SlideAttention(config)
        self.head = nn.Linear(dim, 5)

    def maps(self, image):
        x = self.norm(self.stem(image))
        y = self.attn(x)
        return x + (y[0] if isinstance(y, tuple) else y)

    def forward(self, image):
        print("running")
        return {"logits": self.head(self.maps(image).mean((2, 3)))}


class Several(Classifier):
    def forward(self, image, scale):
        maps = self.maps(image * scale)
        return {"maps": maps, "more": [self.head(maps.mean((2, 3)))]}


class Alone(Classifier):
    def __init__(self):
        super().__init__()
        self.attn = OneBranch(8, 2)


def fails():
    raise RuntimeError("no weights here")
"""
IMAGE = ("--input", "image=1x3x16x16")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a user module."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_cli_net.py").write_text(NET)
    yield tmp_path
    sys.modules.pop("own_cli_net", None)


def weights(file: Path, seed: int = 0, **settings: Any) -> Path:
    """A checkpoint of the classifier, as training writes it."""
    namespace: dict[str, Any] = {"__name__": "training"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(NET, namespace)
    Classifier = namespace["Classifier"]  # noqa: N806
    torch.manual_seed(seed)
    torch.save({"epoch": 1, "model": Classifier(**settings).state_dict()}, file)
    return file


OURS_AND_FOREIGN = pytest.mark.parametrize(
    "foreign", [pytest.param(False, marks=pytest.mark.slow), True], ids=["ours", "foreign"]
)


@OURS_AND_FOREIGN
def test_a_network_is_exported_and_verified_with_weights_from_a_file(
    foreign: bool, folder: Path, run: Run
) -> None:
    file = weights(folder / "run.pth", foreign=foreign)
    other = weights(folder / "other.pth", seed=1, foreign=foreign)
    arguments = ("--model-args", json.dumps({"foreign": foreign}))
    named = ("--model", "own_cli_net:Classifier", *arguments, *IMAGE)
    code, out, err = run(
        "export", *named, "--weights-file", file, "--to", "onnx,openvino", "--json", "-"
    )
    assert code == 0, err
    manifest = json.loads(out)  # though the network prints when it is imported and when it runs
    source = manifest["source"]
    assert (source["name"], source["entry"]) == ("own_cli_net:Classifier", "model")
    assert source["model_args"] == {"foreign": foreign}
    assert source["file"] == "run.pth"
    assert manifest["certificate"]["status"] == "1 folded, 1 merged"  # the stem is normalised
    for name in ("classifier.onnx", "classifier.xml"):
        path = folder / "exported" / name
        assert run("verify", path, *named, "--weights-file", file, "--quiet")[0] == 0
        code, out, err = run("verify", path, *named, "--weights-file", other)
        assert code == 1 and "disagrees with own_cli_net:Classifier" in err
        assert "names other weights as its source" in out


def test_forgotten_weights_are_reported(run: Run) -> None:
    named = ("--model", "own_cli_net:Classifier", *IMAGE)
    code, out, err = run("export", *named, "--to", "onnx")
    assert code == 0, err
    note = "note: the weights are those that own_cli_net:Classifier creates, random"
    assert note in " ".join(out.split())
    # Random weights are the same in every process.
    assert run("verify", "exported/classifier.onnx", *named, "--locate")[0] == 0


def test_several_inputs_outputs_and_open_sizes_are_verified(run: Run) -> None:
    named = ("--model", "own_cli_net.py:Several", "--input", "batchx3xheight:16xwidth:16")
    named = (*named, "--input", "factor=1x1x1x1")
    run("export", *named, "--to", "onnx", "--keep-failed", "--quiet")
    code, out, err = run("verify", "exported/several.onnx", *named, "--json", "-")
    assert code == 0, err
    report = json.loads(out)
    (file,) = json.loads(Path("exported/manifest.json").read_text())["files"]
    assert file["inputs"] == {
        "image": ["batch", 3, "height", "width"],
        "factor": [1, 1, 1, 1],
    }
    assert file["outputs"] == ["maps", "more_0"]
    sizes = " ".join(str(each) for each in report["verification"]["cases"])
    assert "height of" in sizes and "width of" in sizes


@pytest.mark.slow
@OURS_AND_FOREIGN
def test_a_network_is_folded_into_a_file_that_has_its_weights(
    foreign: bool, folder: Path, run: Run
) -> None:
    file = weights(folder / "run.pth", foreign=foreign)
    own = ("--model", "own_cli_net:Classifier", "--model-args", json.dumps({"foreign": foreign}))
    named = (*own, *IMAGE, "--weights-file")
    code, out, err = run(
        *("fold", *named, file),
        *("-o", "folded.safetensors"),
    )
    assert code == 0, err
    assert "own_cli_net:Classifier: entry model, sha256" in out
    with safe_open(folder / "folded.safetensors", "pt") as folded:
        assert any("key_conv.weight" in name for name in folded.keys())  # noqa: SIM118
        assert len(folded.metadata()["slide_deploy.source_sha256"]) == 64
    for name in ("folded.safetensors", file):  # either is the network
        assert run("export", *named, name, "--to", "onnx", "--force", "--quiet")[0] == 0
        assert run("verify", "exported/classifier.onnx", *named, file, "--quiet")[0] == 0


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "foreign"])
def test_tune_finds_the_attentions_of_a_network(foreign: bool) -> None:
    source = Source(
        model="own_cli_net:Classifier",
        model_args=json.dumps({"foreign": foreign}),
        input=("image=1x3x16x32",),
    )
    (geometry,) = find_attentions(source.load(), ())
    assert (geometry.channels, geometry.height, geometry.width) == (8, 4, 8)


@pytest.mark.parametrize("command", ["export", "fold", "verify", "tune"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "own_cli_net:fails", *IMAGE), "RuntimeError: no weights here, own_cli_net.py"),
        (("--model", "own_cli_net", *IMAGE), "names no factory"),
        (("--model", "own_cli_net:Classifier"), "give --input"),
        (("--model", "own_cli_net:Classifier", "--input", "1x3xx"), "--input 1x3xx"),
        (("--input", "1x3x16x16"), "give --model"),
        (("--model", "own_cli_net:Classifier", *IMAGE, "--entry", "model"), "--weights-file"),
        (("--model", "own_cli_net:Classifier", *IMAGE, "--weights", "raw"), "--weights-file"),
        (("--model", "own_cli_net:Classifier", *IMAGE, "--image-size", "64"), "--image-size"),
        (
            ("--model", "own_cli_net:Classifier", *IMAGE, "--weights-file", "none.pth"),
            "none.pth does not exist",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_options_are_reported_in_one_sentence(
    command: str, options: tuple[str, ...], words: str, folder: Path, run: Run
) -> None:
    from onnx import TensorProto, helper, save

    port = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])
    node = helper.make_node("Identity", ["image"], ["logits"])
    out_port = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 16, 16])
    graph = helper.make_graph([node], "graph", [port], [out_port])
    opset = helper.make_opsetid("", 18)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=10), "file.onnx")
    own = {
        "export": ("--to", "onnx", "--quiet"),
        "fold": ("-o", "folded.safetensors", "--quiet"),
        "verify": ("file.onnx", "--quiet"),
        "tune": ("--quiet", "--out", "table.json"),
    }
    code, out, err = run(command, *own[command], *options)
    assert code == 2, err
    (sentence,) = [line for line in err.splitlines() if line not in ("imported", "running")]
    assert sentence.startswith("slide-deploy: ") and words in sentence
    assert not out
    assert not (folder / "exported").exists() and not (folder / "folded.safetensors").exists()


def test_fold_names_the_unfolded_layer_and_the_reason(run: Run, folder: Path) -> None:
    code, out, _ = run("fold", "--model", "own_cli_net:Alone", *IMAGE, "-o", "a.safetensors")
    assert code == 0
    out = " ".join(out.split())
    assert "attn (OneBranch) stays as it is: it has only one branch (dep_conv)" in out
