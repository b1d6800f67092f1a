import sys
from pathlib import Path

import pytest
import torch

import slide_deploy
from benchmarks.artifact import describe_artifact
from benchmarks.candidates import Sweep
from benchmarks.record import Artifact
from benchmarks.suite import members, read_suite
from slide_deploy.backends import open_file
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.tasks.suite_files import export_for_suite
from tests.written_elsewhere import Plain, branched, write

BASELINES = Path(__file__).parents[2] / "benchmarks" / "baselines"
CANDIDATE = 'name = "a"\ntargets = ["onnxruntime:cpu"]\n[[candidate]]\nname = "x"\n'


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_suites_of_baselines_can_be_read(path):
    suite = read_suite(path)
    assert len(suite.candidate) * len(suite.targets) >= 3


def test_existing_files_are_not_written_again(tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')
    made = []

    def export(wanted, folder):
        made.append(wanted)
        path = folder / "attention.onnx"
        path.touch()
        return path

    for _ in range(2):
        (member,) = members(suite, tmp_path / "work", Sweep(), export)
    assert len(made) == 1
    assert member.candidate.name == "x on onnxruntime:cpu"
    assert Path(member.candidate.path).exists()


def test_files_of_other_code_are_written_again(tmp_path, monkeypatch):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')

    def path() -> str:
        def export(wanted, folder):
            (folder / "attention.onnx").touch()
            return folder / "attention.onnx"

        (member,) = members(suite, tmp_path / "work", Sweep(), export)
        return member.candidate.path

    first = path()
    assert path() == first
    monkeypatch.setattr("benchmarks.suite.code_digest", lambda: "another")
    assert path() != first


def test_a_failed_export_is_repeated(tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')

    def fails(wanted, folder):
        raise InputError("no")

    def works(wanted, folder):
        (folder / "a.onnx").touch()
        return folder / "a.onnx"

    with pytest.raises(InputError):
        members(suite, tmp_path / "work", Sweep(), fails)
    assert members(suite, tmp_path / "work", Sweep(), works)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "cannot be read as a suite"),
        ('name = "a"', "targets is missing; add it"),
        (CANDIDATE, "give one of file, checkpoint, architecture, attention and model"),
        (CANDIDATE + 'file = "a"\nattention = "b"', "give one of"),
        (CANDIDATE + 'file = "a.onnx"\nbaseline = "swin"', "a baseline requires an architecture"),
        (CANDIDATE + 'file = "a.onnx"\ncolour = 1', "colour"),
        (CANDIDATE + 'model = "net:build"', "a model needs its input"),
        (CANDIDATE + 'file = "a.onnx"\ninput = ["1x3"]', "input requires a model, or a checkpoint"),
        (CANDIDATE + 'checkpoint = "a.pth"\ninput = ["1x3"]', "input requires a model, or a"),
        (CANDIDATE + 'attention = "32x8x8"\nmodel_args = []', "weights_file require a model"),
        (CANDIDATE + 'model = "net"\ninput = ["1x3"]', "names no factory"),
        (CANDIDATE + 'model = "n:b"\ninput = ["1x3"]\nweights_file = "w.pth"', "w.pth does not"),
        (
            CANDIDATE + 'model = "n:b"\ninput = ["1x3"]\nmodel_args = [2026-01-01]',
            "no equivalent in JSON",
        ),
        (CANDIDATE + 'file = "a"\naccuracy = 0.8\npublished_accuracy = 0.8', "give accuracy .of"),
        (CANDIDATE + 'file = "a"\npublished_accuracy = 81.7', "published_accuracy"),
        (CANDIDATE + 'file = "a.onnx"', "does not exist"),
        (CANDIDATE + 'checkpoint = "a.pth"', "does not exist"),
        (CANDIDATE + 'attention = "7x8x8"\nbaseline = "unfold"', "is not a size"),
        (CANDIDATE + 'attention = "32x8x8"\nbaseline = "swim"', "no baseline swim"),
    ],
)
def test_an_invalid_suite_is_refused(tmp_path, text, sentence):
    suite = tmp_path / "suite.toml"
    suite.write_text(text)
    with pytest.raises(InputError, match=sentence):
        members(suite, tmp_path / "work", Sweep(), lambda wanted, folder: folder)


def test_accuracies_of_a_suite_are_added_to_the_artifact(tmp_path):
    (tmp_path / "a.onnx").touch()
    entry = CANDIDATE + 'file = "a.onnx"\nline = "Swin"\n'
    of_the_manifest = Artifact("a.onnx", "0" * 64, 1, accuracy=0.75)
    wanted = {"": (0.75, None), "accuracy = 0.5": (0.5, None)}
    wanted["published_accuracy = 0.8"] = (None, 0.8)
    for stated, (accuracy, published) in wanted.items():
        suite = tmp_path / "suite.toml"
        suite.write_text(entry + stated)
        (member,) = members(suite, tmp_path, Sweep(), lambda wanted, folder: folder)
        assert member.candidate.line == "Swin"
        artifact = member.stated_of(of_the_manifest)
        assert (artifact.accuracy, artifact.published_accuracy) == (accuracy, published)


def test_a_candidate_can_have_its_own_arithmetic_and_environment(tmp_path):
    (tmp_path / "a.xml").touch()
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'name = "a"\ntargets = ["openvino:cpu"]\n'
        '[[candidate]]\nname = "x"\nfile = "a.xml"\narithmetic = "bfloat16"\n'
        'environment = { ONEDNN_MAX_CPU_ISA = "AVX2" }\n'
        '[[candidate]]\nname = "y"\nfile = "a.xml"\n'
    )
    first, second = members(suite, tmp_path, Sweep(), lambda wanted, folder: folder)
    held = first.candidate.configuration
    assert (held.precision, held.environment) == ("bfloat16", {"ONEDNN_MAX_CPU_ISA": "AVX2"})
    plain = second.candidate.configuration
    assert (plain.precision, plain.environment) == ("float32", {})


INT8 = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)
        )
    def forward(self, tokens):
        return {"logits": self.layers(tokens).mean(1)}
"""


@pytest.mark.parametrize("target", ["onnxruntime:cpu", "openvino:cpu"])
def test_an_int8_network_is_calibrated_on_noise_and_records_it(
    tmp_path, monkeypatch, request, target
):
    request.addfinalizer(lambda: sys.modules.pop("int8_suite_net", None))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "int8_suite_net.py").write_text(INT8)
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "a"\ntargets = ["{target}"]\n[[candidate]]\nname = "x"\n'
        'model = "int8_suite_net:Net"\ninput = ["tokens=1x16x64"]\n'
        'export = { precision = "int8" }\n'
    )
    (member,) = members(suite, tmp_path / "work", Sweep(), export_for_suite)
    path = Path(member.candidate.path)
    artifact = describe_artifact(path)
    assert artifact.calibration == "30 examples of noise.npz"
    assert {node.operator for node in read_graph(path).nodes} & {"QuantizeLinear", "FakeQuantize"}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime:cpu", "openvino:cpu"])
def test_an_int8_attention_has_int8_operators(tmp_path, target):
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "a"\ntargets = ["{target}"]\n[[candidate]]\nname = "x"\n'
        'attention = "64x8x8"\nexport = { precision = "int8", lowering = "flat" }\n'
    )
    wanted = {}

    def export(each, folder):
        wanted["file"] = export_for_suite(each, folder)
        return wanted["file"]

    members(suite, tmp_path / "work", Sweep(), export)
    kinds = {node.operator for node in read_graph(wanted["file"]).nodes}
    assert kinds & {"QuantizeLinear", "FakeQuantize"}


@pytest.mark.slow
def test_a_network_that_is_an_onnx_file_is_folded_for_each_target(tmp_path):
    source = tmp_path / "model.onnx"
    source.write_bytes(branched(open_batch=True).read_bytes())
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'name = "a"\ntargets = ["onnxruntime:cpu", "openvino:cpu"]\n'
        '[[candidate]]\nname = "x"\ncheckpoint = "model.onnx"\nexport = { lowering = "flat" }\n'
        '[[candidate]]\nname = "as it is"\nfile = "model.onnx"\n'
    )
    found = [each.candidate for each in members(suite, tmp_path / "w", Sweep(), export_for_suite)]
    folded, paths = [each.path for each in found[:2]], [each.path for each in found[2:]]
    assert [Path(each).suffix for each in folded] == [".onnx", ".xml"]
    assert paths == [str(source)] * 2
    for path in folded:
        assert slide_deploy.verify(path, source).passed
    # Other weights are another file.
    source.write_bytes(branched().read_bytes())
    again = [each.candidate for each in members(suite, tmp_path / "w", Sweep(), export_for_suite)]
    assert not {each.path for each in again[:2]} & set(folded)


def test_an_onnx_file_of_open_sizes_needs_them_and_keeps_its_batch(tmp_path):
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    write(Plain(), tmp_path / "model.onnx", dynamic_axes=axes)
    suite = tmp_path / "suite.toml"
    entry = CANDIDATE + 'checkpoint = "model.onnx"\n'
    for more, sentence in (
        ("", "give them as input image=1x3x224x224"),
        ("export = { dynamic_batch = true }", "is an .onnx file, which keeps its batch"),
    ):
        suite.write_text(entry + more)
        with pytest.raises(InputError, match=sentence):
            members(suite, tmp_path / "work", Sweep(), export_for_suite)
    suite.write_text(entry + 'input = ["image=1x3x8x8"]')
    (member,) = members(suite, tmp_path / "work", Sweep(), export_for_suite)
    assert open_file(Path(member.candidate.path)).inputs[0].shape == (1, 3, 8, 8)


OWN = """
from torch import nn
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
class Net(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 4, 4)
        self.attn = SlideAttention(SlideAttentionConfig(dim, 2, 3))
    def forward(self, image):
        return {"logits": self.attn(self.stem(image))[0].mean((2, 3))}
"""


@pytest.mark.slow
def test_a_custom_network_is_exported_again_only_after_a_change(tmp_path, monkeypatch, request):
    request.addfinalizer(lambda: sys.modules.pop("own_suite_net", None))
    monkeypatch.setattr(sys, "path", list(sys.path))
    suite = tmp_path / "suites" / "suite.toml"
    suite.parent.mkdir()
    net = suite.with_name("own_suite_net.py")
    net.write_text(OWN)
    whole = (
        CANDIDATE + 'model = "own_suite_net:Net"\nmodel_args = { dim = 8 }\ninput = ["1x3x8x8"]\n'
    )
    made = []

    def export(wanted, folder):
        made.append(folder)
        return export_for_suite(wanted, folder)

    def file() -> Path:
        (member,) = members(suite, tmp_path / "work", Sweep(), export)
        return Path(member.candidate.path)

    suite.write_text(whole)
    first = file()
    assert first.name == "net.onnx" and file() == first and len(made) == 1
    net.with_name("beside.py").write_text("")  # which it could import
    assert file().parent != first.parent
    weights = suite.with_name("weights.pth")
    for seed in (0, 1):
        torch.manual_seed(seed)
        namespace = {"__name__": "training"}
        exec(OWN, namespace)
        torch.save(namespace["Net"](8).state_dict(), weights)
        suite.write_text(whole + 'weights_file = "weights.pth"\n')
        file()
    suite.write_text(whole.replace("8 }", "16 }"))
    file()
    assert len(made) == len(set(made)) == 5
