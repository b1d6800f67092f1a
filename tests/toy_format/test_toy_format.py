"""A new format is an exporter, a reader, a runtime and a record: see docs/extending.md."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.artifact import describe_artifact
from benchmarks.candidates import Sweep
from benchmarks.record import Configuration
from benchmarks.suite import members
from exporters.attention import AttentionFiles
from slide_deploy import formats
from slide_deploy.backends.base import untimed
from slide_deploy.backends.doctor import examine
from slide_deploy.backends.registry import target_named
from slide_deploy.cli import completion
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.files.model_files import require_model_file
from slide_deploy.folding.model import fold_attention
from slide_deploy.formats import ONNX, OPENVINO, Format
from slide_deploy.graph_checks import check_file, inspect, load_policy, read_graph, read_sized
from slide_deploy.hosts import load_checkpoint
from slide_deploy.lowerings import Lowering
from slide_deploy.models.slide_attention import SlideAttentionConfig
from slide_deploy.tasks import contests, tune_first
from slide_deploy.tasks.suite_files import export_for_suite
from slide_deploy.tuning.choice import for_format
from tests.backends.files import bound
from tests.shared import once
from tests.support import FORMATS, answers, exported, exported_path, golden_swin, random_attention
from tests.toy_format.reader import content_of

# The one record.
TOY = Format(
    name="toy",
    suffix=".toy",
    exporter="tests.toy_format.exporter",
    reader="tests.toy_format.reader",
    targets=("tests.toy_format.runtime:TARGET",),
    packages=("torch", "numpy"),
    extra="all",
    default_form="depthwise",
    passes=OPENVINO.passes,
)
NANO = golden_swin("slide_swin_nano")


@pytest.fixture(autouse=True)
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, TOY))


@pytest.fixture
def toy(run) -> Path:
    """A golden checkpoint as a toy file."""

    def write(folder: Path) -> Path:
        code, _, err = run("export", NANO.path, "--to", "toy", "--out", folder)
        assert code == 0, err
        return folder / "slide_swin_nano.toy"

    return once("toy", write)


def edited(path: Path, folder: Path, edit) -> Path:
    """A copy whose program and weights were edited."""
    program, weights = content_of(path)
    edit(program, weights)
    copy = folder / path.name
    with copy.open("wb") as file:
        np.savez(file, program=np.frombuffer(json.dumps(program).encode(), np.uint8), **weights)
    return copy


def first(program: dict, operator: str) -> dict:
    return next(entry for entry in program["operators"] if entry["operator"].startswith(operator))


def test_export_proves_the_file_and_the_manifest_names_it(toy: Path) -> None:
    (entry,) = json.loads((toy.parent / "manifest.json").read_text())["files"]
    assert (entry["format"], entry["passed"], entry["violations"]) == ("toy", True, [])
    assert set(entry["lowerings"].values()) == {"depthwise"}
    assert entry["verification"]["runtime"] == "toy-runtime"
    answer = answers(toy, NANO.expected["image"].numpy())["logits"]
    assert np.abs(answer - NANO.expected["logits"].numpy()).max() < 1e-4


def test_check_passes_and_the_rules_see_damage(run, toy: Path, tmp_path: Path) -> None:
    code, _, err = run("check", toy)
    assert code == 0, err

    def rules(edit) -> set[str]:
        return {found.rule for found in check_file(edited(toy, tmp_path, edit)).violations}

    def epsilon(program, weights) -> None:
        first(program, "layer_norm")["arguments"]["eps"] = 1e-3

    def stray(program, weights) -> None:
        weights["stray"] = np.ones(3, np.float32)

    def groups(program, weights) -> None:
        grouped = (e for e in program["operators"] if e["arguments"].get("groups", 1) > 1)
        next(grouped)["arguments"]["groups"] = 1

    def order(program, weights) -> None:
        program["operators"].reverse()

    def sizes(program, weights) -> None:
        first(program, "transpose")["outputs"][0]["shape"].reverse()

    assert "SD019" in rules(epsilon)
    assert "SD013" in rules(stray)
    assert "SD017" in rules(groups)
    assert "SD001" in rules(order)
    assert "SD002" in rules(sizes)


@pytest.mark.full
def test_inspect_counts_what_it_counts_of_the_same_model_in_another_format(run, toy: Path) -> None:
    code, out, err = run("inspect", toy, "--json", "-")
    assert code == 0, err
    # OpenVINO files are rewritten alike.
    other = exported_path(exported(NANO.load(), lowering=Lowering("flat")), "openvino")
    assert json.loads(out)["macs"] == inspect(read_graph(other)).macs
    assert read_sized(toy, {"image": (1, 3, 64, 64)}).inputs == read_graph(toy).inputs


def test_verify_tells_right_from_wrong_and_locates(run, toy: Path, tmp_path: Path) -> None:
    code, out, err = run("verify", toy, "--against", NANO.path, "--locate")
    assert (code, "layers: all" in out) == (0, True), err

    def wrong(program, weights) -> None:
        name = next(name for name in weights if "layers.1.blocks.0.mlp.fc1.weight" in name)
        weights[name] = weights[name] * 1.1

    damaged = edited(toy, tmp_path, wrong)
    code, out, err = run("verify", damaged, "--against", NANO.path, "--locate")
    assert (code, "layers.1.blocks.0" in out) == (1, True), out
    assert f"{damaged} disagrees" in err


def test_predict_names_the_class_that_the_model_names(run, toy: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    onnx = exported_path(exported(NANO.load()), "onnx")
    answers = []
    for file in (toy, onnx):
        code, out, err = run("predict", file, picture, "--json", "-")
        assert code == 0, err
        answers.append([guess["name"] for guess in json.loads(out)])
    assert answers[0] == answers[1]


def test_a_suite_makes_and_runs_its_file(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "a"\ntargets = ["{TOY.target}"]\n[[candidate]]\nname = "x"\nattention = "32x8x8"\n'
    )
    (member,) = members(suite, tmp_path / "work", Sweep(), export_for_suite)
    path = Path(member.candidate.path)
    assert path.suffix == ".toy"
    stream = bound(target_named(TOY.target).open(path, Configuration(), untimed))
    stream.run()
    assert np.isfinite(stream.read()[0]).all()
    assert describe_artifact(path).parameters == inspect(read_graph(path)).parameters


def test_tune_races_its_files_where_the_benchmark_knows_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert contests.parse_targets([TOY.target], "float32") == (TOY.target,)
    assert TOY.target in contests.parse_targets([], "float32")
    folded, _ = fold_attention(random_attention(SlideAttentionConfig(dim=8, num_heads=2)))
    files = AttentionFiles(folded, (6, 5), "float32", tmp_path)
    assert files.write(Lowering("flat"), "toy").suffix == ".toy"

    monkeypatch.setattr(formats, "FORMATS", (ONNX, replace(TOY, targets=("toy:cpu",))))
    trained = deployable_checkpoint(load_checkpoint(NANO.path))
    (remark,) = tune_first.tune_first(trained, ["toy"], "float32", lambda step: None)
    assert remark.startswith("toy: no form was raced: There is no target toy:cpu")
    assert "toy:cpu" not in contests.parse_targets([], "float32")
    assert for_format("toy", "float32").target == "toy:cpu"


def test_doctor_and_completion_name_it(run) -> None:
    assert "tests.toy_format.runtime" in {finding.subject for finding in examine()}
    assert completion.formats("t") == ["toy"]
    code, _, err = run("export", NANO.path, "--to", "tflite")
    assert (
        code,
        "choose one of onnx, openvino, coreml, litert, executorch, coreai, toy" in err,
    ) == (2, True)


def test_it_is_one_of_all(run, tmp_path: Path) -> None:
    (tmp_path / "slide_swin_nano.toy").touch()
    code, _, err = run("export", NANO.path, "--to", "all", "--out", tmp_path)
    assert code == 2
    assert "slide_swin_nano.toy exists" in err
    assert FORMATS == ("onnx", "openvino", "coreml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--precision", "float16"), "toy is not written in float16: choose float32"),
        (("--dynamic-batch",), "toy files have a fixed batch"),
    ],
)
def test_what_it_cannot_do_is_refused(run, tmp_path: Path, options, sentence: str) -> None:
    out = tmp_path / "out"
    code, _, err = run("export", NANO.path, "--to", "toy", "--out", out, *options)
    assert (code, sentence in err) == (2, True), err
    assert not list(out.glob("*.toy"))


def test_a_damaged_file_is_refused_by_every_command(run, tmp_path: Path) -> None:
    path = tmp_path / "model.toy"
    path.write_bytes(b"PK\x03\x04 no archive")
    for command in (("check", path), ("inspect", path), ("verify", path, "--against", NANO.path)):
        code, _, err = run(*command)
        assert (code, "is no whole toy file" in err) == (2, True), err
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"is a folder: name the \.toy file itself"):
        require_model_file(path)


def test_a_policy_may_have_a_section_of_it(toy: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        "[toy]\nir_version = [4, 5]\nopset = [1, 1]\n[toy.operators]\naten = ['conv2d']\n"
    )
    found = {
        (each.rule, each.message.split()[0])
        for each in check_file(toy, load_policy(policy)).violations
    }
    assert ("SD003", "The") in found
    assert ("SD004", "matmul") in found
    assert ("SD004", "conv2d") not in found
