"""The bundle for another device: its content, its light imports, and a run of it."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmarks import bundle
from benchmarks.artifact import describe_artifact
from benchmarks.bundle import FOR_CHECKPOINTS, LIGHT, code, requirements, write_bundle
from benchmarks.measuring import bundle_runner, plan_file
from benchmarks.measuring.bundle_runner import adapted, summary
from benchmarks.measuring.race import RacePlan
from benchmarks.record import Candidate, Configuration, Measurement, Round, Run
from benchmarks.result import read
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.onnxruntime.providers import PROVIDERS
from slide_deploy.backends.registry import TARGETS
from slide_deploy.errors import InputError
from tests.graph_checks.small_models import Files, exported_nano
from tests.support import GOLDEN, copied

ROOT = Path(__file__).parents[2]
# The light code that imports them.
ABOUT_RUNTIMES = (
    *("slide_deploy/saved/aimodel/", "slide_deploy/backends/", "slide_deploy/saved/mlpackage/"),
    *("slide_deploy/saved/pte/", "slide_deploy/saved/tflite/"),
    "benchmarks/measuring/matmuls.py",
)
# Modules of the runtimes. Each target imports its own when needed.
RUNTIMES = {
    *("PIL", "onnx", "onnxruntime", "openvino", "coremltools", "coreai", "torch"),
    *("ai_edge_litert", "executorch"),
}
# Modules of browser targets, which a bundle does not measure but the registry names.
RUNTIMES |= {"playwright", "platformdirs"}


@pytest.fixture(scope="module")
def files() -> Files:
    return exported_nano()


def plan_of(*pairs: tuple[Path, str], **settings) -> RacePlan:
    candidates = tuple(
        Candidate(f"{path.name} on {target}", str(path), target) for path, target in pairs
    )
    artifacts = {each.name: describe_artifact(Path(each.path)) for each in candidates}
    return RacePlan(candidates, artifacts, **settings)


@pytest.fixture
def packed(files: Files, tmp_path: Path) -> zipfile.ZipFile:
    plan = plan_of(
        (files["onnx"], "onnxruntime:cpu"),
        (files["openvino"], "openvino:cpu"),
        (files["coreml"], "coreml:ane"),
        (files["onnx"], "onnxruntime:cuda"),
    )
    write_bundle(plan, tmp_path / "b.zip")
    return zipfile.ZipFile(tmp_path / "b.zip")


def test_a_bundle_contains_models_with_companions_the_code_and_the_plan(
    packed: zipfile.ZipFile,
) -> None:
    names = packed.namelist()
    assert names == sorted(names)
    assert {"run.py", "plan.json", "requirements.txt", "README.md"} <= set(names)
    assert {"models/1/nano.onnx", "models/2/nano.bin", "models/2/nano.xml"} <= set(names)
    assert "models/3/nano.mlpackage/Manifest.json" in names
    assert any(name.startswith("models/3/nano.mlpackage/Data/") for name in names)
    assert {"benchmarks/measuring/race.py", "slide_deploy/machine/linux.py"} <= set(names)
    assert not any(name.startswith("slide_deploy/graph_checks") for name in names)
    # One model on two targets is packed once.
    assert not any(name.startswith("models/4") for name in names)
    assert packed.testzip() is None


def test_the_plan_has_paths_in_the_bundle_and_no_folder_of_this_machine(
    packed: zipfile.ZipFile, files: Files
) -> None:
    text = packed.read("plan.json").decode()
    assert str(files["onnx"].parent) not in text
    plan = plan_file.from_json(text)
    assert [each.path for each in plan.candidates] == [
        *("models/1/nano.onnx", "models/2/nano.xml", "models/3/nano.mlpackage"),
        "models/1/nano.onnx",
    ]
    first = plan.candidates[0].name
    assert plan.artifacts[first] == describe_artifact(files["onnx"])


def test_equal_plans_give_equal_bytes(files: Files, tmp_path: Path) -> None:
    path = copied(files["openvino"], tmp_path)
    plan = plan_of((path, "openvino:cpu"))
    write_bundle(plan, tmp_path / "a.zip")
    os.utime(path, (1, 1))
    write_bundle(plan, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_bundle_is_written_atomically(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b.zip"
    out.write_text("what was there")
    missing = RacePlan((Candidate("a", str(tmp_path / "no.onnx"), "onnxruntime:cpu"),))
    with pytest.raises(InputError, match="does not exist"):
        write_bundle(missing, out)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle.shutil, "copyfileobj", fail)
    with pytest.raises(InputError, match="No space left"):
        write_bundle(plan_of((files["onnx"], "onnxruntime:cpu")), out)
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    assert out.read_text() == "what was there"


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []  # never run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def bundled(parts: tuple[str, ...], *candidates: Candidate) -> dict[str, Path]:
    found = code(candidates)
    return {
        name: path
        for name, path in found.items()
        if any(name == part or name.startswith(part + "/") for part in parts)
    }


CHECKPOINT = Candidate("a", "a.pth", "torch:cpu")


def ours(imported: str) -> str | None:
    """The file of this project that an import names, itself or something in it."""
    parts = imported.split(".")
    for length in range(len(parts), 0, -1):
        stem = "/".join(parts[:length])
        for name in (f"{stem}.py", f"{stem}/__init__.py"):
            if (ROOT / name).is_file():
                return name
    return None


def test_a_browser_target_needs_a_web_bundle(files: Files, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--web-bundle instead of --bundle"):
        write_bundle(plan_of((files["onnx"], "web:wasm")), tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_the_code_is_closed_under_import() -> None:
    assert ours("slide_deploy.machine.describe") == "slide_deploy/machine/__init__.py"
    assert ours("numpy.linalg") is None
    for candidates in ((), (CHECKPOINT,)):
        found = code(candidates)
        for name, path in found.items():
            for needed in filter(None, map(ours, imports(path))):
                if needed == "slide_deploy/hosts/__init__.py" and not candidates:
                    # Packed when needed, and imported by the one target that reads checkpoints.
                    assert name == "slide_deploy/backends/torch/model.py"
                    continue
                assert needed in found, f"{name} needs {needed}"


def test_the_light_code_imports_only_numpy_and_runtimes_when_needed() -> None:
    installed = set(packages_distributions())
    for name, path in bundled(LIGHT).items():
        foreign = {imported.split(".")[0] for imported in imports(path)} & installed
        # safetensors reads reference outputs: requirements.txt has it.
        foreign -= {"benchmarks", "slide_deploy", "exporters", "numpy", "safetensors"}
        if name.startswith(ABOUT_RUNTIMES):
            foreign -= RUNTIMES
        assert not foreign, f"{name} imports {foreign}"


def test_checkpoint_readers_need_only_torch_and_safetensors() -> None:
    installed = set(packages_distributions())
    parts = bundled(FOR_CHECKPOINTS, CHECKPOINT)
    assert "slide_deploy/hosts/load.py" in parts
    assert "slide_deploy/hosts/load.py" not in code(())
    for name, path in parts.items():
        foreign = {imported.split(".")[0] for imported in imports(path)} & installed
        allowed = {"slide_deploy", "numpy", "torch", "safetensors"}
        assert not foreign - allowed, f"{name} imports {foreign - allowed}"


def test_requirements_are_those_of_the_targets() -> None:
    def of(*targets: str) -> list[str]:
        return requirements(tuple(Candidate(each, "a.onnx", each) for each in targets))

    always = ["numpy>=1.26", "safetensors>=0.4.5"]
    assert of("onnxruntime:cpu") == sorted([*always, "onnxruntime>=1.22"])
    # They share one import name, so only one can be installed.
    both = of("onnxruntime:cpu", "onnxruntime:cuda")
    assert both == sorted([*always, "onnxruntime-gpu>=1.22"])
    assert of("my.module:TARGET") == always
    assert "safetensors>=0.4.5" in requirements((CHECKPOINT,))
    assert all(len(of(target.name)) > 1 for target in TARGETS if target.is_timed)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_requirements_agree_with_the_targets(provider: Provider) -> None:
    lines = requirements((Candidate("a", "a.onnx", provider.target),))
    assert {line.split(">")[0] for line in lines} == {
        "numpy",
        "safetensors",
        *provider.package.split(),
    }


def test_the_readme_explains_how_to_run(packed: zipfile.ZipFile) -> None:
    text = packed.read("README.md").decode()
    assert "- nano.xml on openvino:cpu (`models/2/nano.xml`)" in text
    assert "slide-deploy report result-HOST.json" in text
    assert "{" not in text


def test_the_readme_names_custom_targets(files: Files, tmp_path: Path) -> None:
    write_bundle(plan_of((files["onnx"], "my.module:TARGET")), tmp_path / "b.zip")
    text = zipfile.ZipFile(tmp_path / "b.zip").read("README.md").decode()
    assert "my.module:TARGET." in text


def test_a_plan_is_read_back_exactly() -> None:
    configuration = Configuration(
        threads=3, pinned=(0, 2), shapes={"image": (1, 3, 8, 8)}, options={"a": "b"}
    )
    plan = RacePlan(
        (Candidate("ä", "models/1/m.onnx", "onnxruntime:cpu", configuration),),
        {"ä": describe_artifact(GOLDEN / "slide_swin_nano.pth")},
        seconds=2.5,
        limits=4,
    )
    again = plan_file.from_json(plan_file.to_json(plan))
    assert again == plan
    assert isinstance(again.candidates[0].configuration.pinned, tuple)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "damaged"),
        ("{}", "damaged"),
        ("[]", "damaged"),
        ('{"plan_version": 1}', "damaged"),
        ('{"plan_version": 1, "candidates": [{}], "artifacts": {}}', "damaged"),
        ('{"plan_version": 1, "candidates": [], "artifacts": {}, "other": 1}', "damaged"),
        ('{"plan_version": 2}', "version 2"),
    ],
)
def test_a_plan_of_another_kind_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        plan_file.from_json(text)


def test_the_device_has_fewer_cores_than_the_plan() -> None:
    plan = RacePlan((Candidate("a", "a", "t", Configuration(threads=16)),), limits=16, seconds=10)
    assert adapted(plan, 4, None, None).candidates[0].configuration.threads == 4
    assert adapted(plan, 4, None, None).limits == 4
    assert adapted(plan, 64, None, None) == plan
    asked = adapted(plan, 4, 8, 1.5)
    assert (asked.candidates[0].configuration.threads, asked.limits, asked.seconds) == (8, 8, 1.5)


def test_the_summary_names_failures() -> None:
    candidates = [Candidate(name, name, "t") for name in ("fast", "broken", "late")]
    run = Run(
        *(1, "0", "2026-01-01T00:00:00+00:00", 1.0, {}),
        measurements=(
            Measurement(candidates[0], rounds=(Round(0, 1, (2_500_000,)),)),
            Measurement(candidates[1], error="it ran out of memory"),
            Measurement(candidates[2]),
        ),
    )
    assert summary(run).splitlines() == [
        "fast    2.500 ms, unproven",
        "broken  failed: it ran out of memory",
        "late    not measured",
    ]


def test_the_result_is_named_after_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_runner.platform, "node", lambda: "../Anna's Pi.local")
    assert bundle_runner.host_name() == "Anna-s-Pi.local"
    monkeypatch.setattr(bundle_runner.platform, "node", lambda: "")
    assert bundle_runner.host_name() == "device"


@pytest.fixture
def unpacked(files: Files, tmp_path: Path) -> Path:
    """A bundle of one file on one target, where nothing heavy can be imported."""
    write_bundle(
        plan_of((files["onnx"], "onnxruntime:cpu"), seconds=0.3, rounds=6, warm_up=0.1),
        tmp_path / "run.zip",
    )
    folder = tmp_path / "device"
    zipfile.ZipFile(tmp_path / "run.zip").extractall(folder)
    heavy = ("torch", "pydantic", "scipy", "rich", "typer", "onnx", "pandas")
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({heavy}))\n"
    )
    return folder


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # From another folder, so that no module of this checkout is found by chance.
    return subprocess.run(
        [sys.executable, str(folder / "run.py"), *arguments],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_bundle_runs_in_another_folder_and_its_result_can_be_read(unpacked: Path) -> None:
    done = start(unpacked, "--threads", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    results = list(unpacked.glob("result-*.json"))
    assert [path.name in done.stdout for path in results] == [True]
    run = read(results[0])
    measured = run.measurements[0]
    assert measured.error is None
    assert measured.candidate.path == "models/1/nano.onnx"
    assert measured.artifact
    assert measured.artifact.macs
    assert len(measured.rounds) == 6
    assert str(unpacked) not in results[0].read_text()
    assert "round 6 of 6" in done.stdout


def test_a_failed_candidate_is_reported_and_recorded(unpacked: Path) -> None:
    (unpacked / "models/1/nano.onnx").write_bytes(b"damaged")
    done = start(unpacked)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nano.onnx on onnxruntime:cpu  failed: " in done.stdout
    assert read(next(unpacked.glob("result-*.json"))).measurements[0].error


def test_a_damaged_bundle_is_reported_in_one_sentence(unpacked: Path) -> None:
    (unpacked / "plan.json").write_text("{")
    done = start(unpacked)
    assert done.returncode == 2
    assert "unpack the bundle again" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert start(unpacked, "--seconds", "0").returncode == 2


def test_any_python_3_can_parse_the_script() -> None:
    ast.parse(bundle.RUN, feature_version=(3, 4))
    assert json.loads(json.dumps(asdict(RacePlan(()))))
