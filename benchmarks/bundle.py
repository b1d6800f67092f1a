"""Packs candidates for another device: models, the light part of the code, and a plan.

The light part runs with Python, numpy and the runtime. It needs no torch, pydantic, scipy or rich,
unless the target itself is torch. Equal input gives equal bytes: names are sorted, times are fixed,
and nothing is compressed.
"""

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import benchmarks
import slide_deploy
from benchmarks.measuring import plan_file
from benchmarks.measuring.bundle_runner import PLAN
from benchmarks.measuring.race import RacePlan
from benchmarks.record import Candidate
from slide_deploy.backends.registry import TARGETS
from slide_deploy.errors import InputError
from slide_deploy.files.companions import files_of
from slide_deploy.files.writing import draft_of
from slide_deploy.verification.reference_outputs.reference_file import reference_path

# Modules, and packages with everything below them. A test checks that they import only each other.
LIGHT = (
    "benchmarks/__init__.py",
    "benchmarks/record.py",
    "benchmarks/measuring",
    "slide_deploy/__init__.py",
    "slide_deploy/saved/aimodel",
    "slide_deploy/backends",
    "slide_deploy/verification/cases.py",
    "slide_deploy/process/child_python.py",
    "slide_deploy/deployable/__init__.py",
    "slide_deploy/deployable/inputs.py",
    "slide_deploy/verification/draws.py",
    "slide_deploy/errors.py",
    "slide_deploy/saved/flatbuffer.py",
    "slide_deploy/formats.py",
    "slide_deploy/files/hashing.py",
    "slide_deploy/parsing.py",
    "slide_deploy/process/interruption.py",
    "slide_deploy/machine",
    "slide_deploy/saved/mlpackage",
    "slide_deploy/files/model_files.py",
    "slide_deploy/files/moves.py",
    "slide_deploy/files/scratch.py",
    "slide_deploy/verification/parity.py",
    "slide_deploy/precisions.py",
    "slide_deploy/verification/reference_outputs/__init__.py",
    "slide_deploy/verification/reference_outputs/proof.py",
    "slide_deploy/verification/reference_outputs/record.py",
    "slide_deploy/verification/reference_outputs/reference_file.py",
    "slide_deploy/saved/pte",
    "slide_deploy/saved/tflite",
    "slide_deploy/saved/untrusted.py",
    "slide_deploy/files/reading.py",
    "slide_deploy/files/writing.py",
    "slide_deploy/terminal/__init__.py",
    "slide_deploy/terminal/printable.py",
)
# Modules that read checkpoints, for candidates that run a checkpoint with torch.
FOR_CHECKPOINTS = (
    "slide_deploy/checkpoint",
    "slide_deploy/folding/formulas.py",
    "slide_deploy/hosts",
    "slide_deploy/models",
)
_CHECKPOINTS = frozenset((".pth", ".pt", ".safetensors"))

# Distributions by target, or by runtime where its targets agree. Versions as in pyproject.toml.
_REQUIREMENTS = {
    "onnxruntime": ("onnxruntime>=1.22",),
    "onnxruntime:cuda": ("onnxruntime-gpu>=1.22",),
    "onnxruntime:tensorrt": ("onnxruntime-gpu>=1.22", "tensorrt"),
    "onnxruntime:directml": ("onnxruntime-directml>=1.22",),
    "onnxruntime:openvino": ("onnxruntime-openvino>=1.22",),
    "openvino": ("openvino>=2025.3",),
    "coreml": ("coremltools>=9.0", "pillow>=10"),
    "litert": ("ai-edge-litert>=2.3",),
    "executorch": ("executorch>=1.5.1",),
    "torch": ("torch>=2.9",),
}

# Any Python 3 can parse this, so that an old one prints the version it needs instead of failing.
RUN = '''\
"""Measures the files of this bundle on this device: python3 run.py"""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed; this is %s." % sys.version.split()[0])

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

if __name__ == "__main__":
    from pathlib import Path

    from benchmarks.measuring.bundle_runner import main

    sys.exit(main(Path(HERE)))
'''
_CUSTOM = """
These targets are custom ones. Put their modules beside `run.py`: {names}.
"""

# The earliest time that a zip can store.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX, _READABLE = 3, 0o100644 << 16


def write_bundle(plan: RacePlan, out: Path) -> None:
    """Write a zip that measures on any device that has Python and the runtimes.

    Args:
        plan: What to measure, with paths on this machine.
        out: Path of the zip. An existing file is replaced atomically.

    Raises:
        InputError: A file is missing, a target is a browser, or the zip cannot be written.
    """
    for each in plan.candidates:
        if each.target.startswith("web:"):
            raise InputError(
                f"{each.target} measures in a browser: give --web-bundle instead of --bundle."
            )
    moved, models = _moved(plan)
    needed = requirements(moved.candidates)
    texts = {
        PLAN: plan_file.to_json(moved),
        "run.py": RUN,
        "requirements.txt": "\n".join(needed) + "\n",
        "README.md": _readme(moved, needed),
    }
    try:
        with draft_of(out) as draft:
            _write(draft, {**models, **code(moved.candidates), **texts})
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror}): choose another path."
        ) from error


def requirements(candidates: tuple[Candidate, ...]) -> list[str]:
    """Return the sorted lines of ``requirements.txt``. Custom targets add none."""
    lines = {"numpy>=1.26", "safetensors>=0.4.5"}  # safetensors reads reference outputs
    for candidate in candidates:
        runtime = candidate.target.split(":")[0]
        lines |= set(_REQUIREMENTS.get(candidate.target, _REQUIREMENTS.get(runtime, ())))
    # All distributions of ONNX Runtime share one import name, and each contains the CPU kernels.
    if any(line.startswith("onnxruntime-") for line in lines):
        lines.discard(*_REQUIREMENTS["onnxruntime"])
    return sorted(lines)


def code(candidates: tuple[Candidate, ...]) -> dict[str, Path]:
    """Return the modules that the device needs, by their path in the bundle."""
    parts = LIGHT + (FOR_CHECKPOINTS if any(map(_is_checkpoint, candidates)) else ())
    return {name: path for part in parts for name, path in _modules(part)}


def _modules(part: str) -> Iterator[tuple[str, Path]]:
    package, _, rest = part.partition("/")
    # The packages may be installed in different folders.
    home = {"benchmarks": benchmarks, "slide_deploy": slide_deploy}[package]
    root = Path(str(home.__file__)).parent
    for path in [root / rest] if rest.endswith(".py") else (root / rest).rglob("*.py"):
        yield f"{package}/{path.relative_to(root).as_posix()}", path


def _moved(plan: RacePlan) -> tuple[RacePlan, dict[str, Path]]:
    """Return the plan with paths in the bundle, and the files by these paths."""
    # A folder for each model, as names may be equal and companions stay beside their model.
    folders: dict[Path, PurePosixPath] = {}
    files: dict[str, Path] = {}
    candidates = []
    for candidate in plan.candidates:
        path = Path(candidate.path)
        if path not in folders:
            folders[path] = PurePosixPath("models") / str(len(folders) + 1)
            files |= {f"{folders[path]}/{name}": file for name, file in files_of(path).items()}
            reference = reference_path(path)
            if reference.is_file():
                files[f"{folders[path]}/{reference.name}"] = reference
        candidates.append(replace(candidate, path=f"{folders[path]}/{path.name}"))
    return replace(plan, candidates=tuple(candidates)), files


def _write(path: Path, content: dict[str, Path | str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(content):
            # Stored, as weights hardly shrink and compressors differ between versions.
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr = _UNIX, _READABLE
            source = content[name]
            if isinstance(source, str):
                archive.writestr(info, source)
                continue
            info.file_size = source.stat().st_size  # above 4 GiB the header is different
            with source.open("rb") as stream, archive.open(info, "w") as target:
                shutil.copyfileobj(stream, target, 1 << 20)


def _readme(plan: RacePlan, requirements: list[str]) -> str:
    """Return the README of a bundle, for the owner of the device."""
    runtimes = [line.split(">")[0] for line in requirements if not line.startswith("numpy")]
    known = {target.name for target in TARGETS}
    custom = ", ".join(sorted({each.target for each in plan.candidates} - known))
    # Measuring and half the limit of the warm-up, without loading.
    seconds = len(plan.candidates) * (plan.seconds + plan.sustained + plan.warm_up / 2)
    text = Path(__file__).with_name("bundle_readme.md").read_text(encoding="utf-8")
    return text.format(
        candidates="\n".join(f"- {each.name} (`{each.path}`)" for each in plan.candidates),
        runtimes=", ".join(runtimes) or "the runtime",
        minutes=max(1, round(seconds / 60)),
        custom=_CUSTOM.format(names=custom) if custom else "",
    )


def _is_checkpoint(candidate: Candidate) -> bool:
    suffix = Path(candidate.path).suffix
    return candidate.target.startswith("torch:") and suffix in _CHECKPOINTS
