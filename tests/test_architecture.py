"""The arrows between the rooms point one way."""

import ast
import functools
import re
from pathlib import Path

import pytest

import slide_deploy
from slide_deploy.formats import Format, known_formats

ROOT = Path(__file__).parents[1]

# Room: what it may import of this project. A room stands for itself and all below it.
ARROWS = {
    "slide_deploy.errors": {"slide_deploy.terminal.printable"},
    "slide_deploy.files.reading": set(),
    "slide_deploy.files": set(),
    "slide_deploy.process": set(),
    "slide_deploy.saved": set(),
    "slide_deploy.terminal": set(),
    "slide_deploy.folding": set(),
    "slide_deploy.verification": set(),
    "slide_deploy.terminal.printable": set(),
    "slide_deploy.files.hashing": {"slide_deploy"},
    "slide_deploy.formats": {"slide_deploy.errors"},
    "slide_deploy.precisions": {"slide_deploy.errors"},
    "slide_deploy.files.model_files": {"slide_deploy.errors", "slide_deploy.formats"},
    "slide_deploy.folding.surgery": {"slide_deploy.errors"},
    "slide_deploy.process.torch_defaults": set(),
    "slide_deploy.parsing": {"slide_deploy.errors"},
    "slide_deploy.files.moves": set(),
    "slide_deploy.files.scratch": {"slide_deploy.process.interruption", "slide_deploy.files.moves"},
    "slide_deploy.files.writing": {
        "slide_deploy.errors",
        "slide_deploy.files.moves",
        "slide_deploy.files.scratch",
    },
    "slide_deploy.process.child_python": set(),
    "slide_deploy.process.interruption": set(),
    "slide_deploy.files.folders": {
        "slide_deploy.errors",
        "slide_deploy.process.interruption",
        "slide_deploy.files.scratch",
    },
    "slide_deploy.files.publishing": {
        "slide_deploy.errors",
        "slide_deploy.files.folders",
        "slide_deploy.process.interruption",
        "slide_deploy.files.moves",
        "slide_deploy.files.scratch",
    },
    "slide_deploy.folding.formulas": {"slide_deploy.errors"},
    "slide_deploy.models": {"slide_deploy.errors", "slide_deploy.folding.formulas"},
    "slide_deploy.checkpoint": {
        "slide_deploy.files.reading",
        "slide_deploy",
        "slide_deploy.errors",
        "slide_deploy.formats",
        "slide_deploy.files.hashing",
        "slide_deploy.files.model_files",
        "slide_deploy.files.writing",
    },
    "slide_deploy.hosts": {
        "slide_deploy.checkpoint",
        "slide_deploy.errors",
        "slide_deploy.files.model_files",
        "slide_deploy.models",
    },
    "slide_deploy.folding.layer": {
        "slide_deploy",
        "slide_deploy.folding.formulas",
        "slide_deploy.models",
    },
    "slide_deploy.foreign": {
        "slide_deploy.errors",
        "slide_deploy.folding.layer",
        "slide_deploy.folding.formulas",
        "slide_deploy.models",
        "slide_deploy.folding.surgery",
        "slide_deploy.process.torch_defaults",
    },
    "slide_deploy.folding.model": {
        "slide_deploy",
        "slide_deploy.errors",
        "slide_deploy.folding.layer",
        "slide_deploy.folding.formulas",
        "slide_deploy.foreign",
        "slide_deploy.models",
        "slide_deploy.passes.report",
        "slide_deploy.folding.surgery",
        "slide_deploy.process.torch_defaults",
    },
    "slide_deploy.passes.report": set(),
    "slide_deploy.lowerings": {
        "slide_deploy.errors",
        "slide_deploy.models",
        "slide_deploy.folding.surgery",
    },
    "slide_deploy.program": set(),
    # Tracing takes a deployable; what asks and changes a program knows no network.
    "slide_deploy.program.tracing": {
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.program",
    },
    "slide_deploy.branches": {"slide_deploy.folding.formulas", "slide_deploy.program"},
    "slide_deploy.layouts": {"slide_deploy.program"},
    "slide_deploy.passes": {
        "slide_deploy.branches",
        "slide_deploy.errors",
        "slide_deploy.folding.formulas",
        "slide_deploy.layouts",
        "slide_deploy.passes.report",
        "slide_deploy.program",
    },
    # Passes over a network in memory, for who folds without writing a file.
    "slide_deploy.folding.merging": {
        "slide_deploy.errors",
        "slide_deploy.passes",
        "slide_deploy.passes.report",
        "slide_deploy.program",
        "slide_deploy.program.tracing",
        "slide_deploy.folding.model",
        "slide_deploy.process.torch_defaults",
    },
    "slide_deploy.tuning": {
        "slide_deploy.files.reading",
        "slide_deploy.files.validation",
        "slide_deploy.errors",
        "slide_deploy.formats",
        "slide_deploy.files.folders",
        "slide_deploy.lowerings",
        "slide_deploy.machine",
        "slide_deploy.models",
        "slide_deploy.precisions",
        "slide_deploy.files.writing",
    },
    "slide_deploy.deployable": {
        "slide_deploy",
        "slide_deploy.verification.cases",
        "slide_deploy.checkpoint",
        "slide_deploy.errors",
        "slide_deploy.hosts",
        "slide_deploy.images.description",
        "slide_deploy.process.interruption",
        "slide_deploy.models",
        "slide_deploy.folding.model",
        "slide_deploy.folding.surgery",
        "slide_deploy.process.torch_defaults",
        "slide_deploy.files.writing",
    },
    "slide_deploy.onnx_network": {
        "slide_deploy.backends",
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.files.companions",
        "slide_deploy.foreign",
        "slide_deploy.graph_checks",
    },
    "slide_deploy.verification.draws": {"slide_deploy.errors"},
    "slide_deploy.verification.cases": {
        "slide_deploy.deployable",
        "slide_deploy.verification.draws",
    },
    "slide_deploy.verification.parity": {
        "slide_deploy.verification.cases",
        "slide_deploy.precisions",
    },
    "slide_deploy.verification.dataflow": set(),
    "slide_deploy.verification.divergence": {
        "slide_deploy.verification.noise",
        "slide_deploy.precisions",
    },
    "slide_deploy.verification.noise": {"slide_deploy.verification.divergence"},
    "slide_deploy.verification.trained_outputs": {
        "slide_deploy.verification.dataflow",
        "slide_deploy.verification.cases",
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.foreign",
        "slide_deploy.hosts",
        "slide_deploy.verification.divergence",
        "slide_deploy.models",
        "slide_deploy.verification.parity",
        "slide_deploy.process.torch_defaults",
    },
    "slide_deploy.verification.verify": {
        "slide_deploy",
        "slide_deploy.verification.cases",
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.graph_checks",
        "slide_deploy.images.description",
        "slide_deploy.verification.divergence",
        "slide_deploy.verification.noise",
        "slide_deploy.verification.parity",
        "slide_deploy.precisions",
        "slide_deploy.verification.trained_outputs",
        "slide_deploy.backends",
        "slide_deploy.process.torch_defaults",
    },
    "slide_deploy.verification.two_files": {
        "slide_deploy.backends",
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.graph_checks",
        "slide_deploy.images.description",
        "slide_deploy.parsing",
        "slide_deploy.precisions",
        "slide_deploy.verification",
        "slide_deploy.verification.cases",
        "slide_deploy.verification.divergence",
        "slide_deploy.verification.parity",
    },
    "slide_deploy.verification.reference_outputs": {
        "slide_deploy.files.reading",
        "slide_deploy.backends",
        "slide_deploy.verification.cases",
        "slide_deploy.files.companions",
        "slide_deploy.deployable",
        "slide_deploy.verification.draws",
        "slide_deploy.errors",
        "slide_deploy.files.hashing",
        "slide_deploy.images.description",
        "slide_deploy.files.model_files",
        "slide_deploy.verification.parity",
        "slide_deploy.precisions",
        "slide_deploy.verification.trained_outputs",
        "slide_deploy.verification.verify",
    },
    "slide_deploy.saved.untrusted": {"slide_deploy.errors"},
    "slide_deploy.saved.mlpackage": {"slide_deploy.errors", "slide_deploy.saved.untrusted"},
    "slide_deploy.saved.flatbuffer": set(),
    "slide_deploy.saved.tflite": {
        "slide_deploy.errors",
        "slide_deploy.saved.flatbuffer",
        "slide_deploy.saved.untrusted",
    },
    "slide_deploy.saved.aimodel": {
        "slide_deploy.process.child_python",
        "slide_deploy.errors",
        "slide_deploy.saved.untrusted",
    },
    "slide_deploy.saved.pte": {"slide_deploy.saved.flatbuffer"},
    "slide_deploy.backends": {
        "slide_deploy",
        "slide_deploy.backends.torch",
        "slide_deploy.backends.web",
        "slide_deploy.saved.aimodel",
        "slide_deploy.errors",
        "slide_deploy.formats",
        "slide_deploy.parsing",
        "slide_deploy.machine",
        "slide_deploy.saved.mlpackage",
        "slide_deploy.saved.pte",
        "slide_deploy.files.model_files",
        "slide_deploy.precisions",
        "slide_deploy.saved.tflite",
        "slide_deploy.files.scratch",
    },
    # The benchmark's own page takes modules from here, and from no other backend.
    "slide_deploy.backends.web": {
        "slide_deploy.backends",
        "slide_deploy.errors",
        "slide_deploy.files.scratch",
    },
    # The one backend that runs checkpoints.
    "slide_deploy.backends.torch": {
        "slide_deploy.backends",
        "slide_deploy.errors",
        "slide_deploy.hosts",
    },
    "slide_deploy.graph_checks": {
        "slide_deploy.files.reading",
        "slide_deploy",
        "slide_deploy.saved.aimodel",
        "slide_deploy.terminal.console",
        "slide_deploy.errors",
        "slide_deploy.saved.flatbuffer",
        "slide_deploy.formats",
        "slide_deploy.images.description",
        "slide_deploy.parsing",
        "slide_deploy.saved.mlpackage",
        "slide_deploy.saved.pte",
        "slide_deploy.files.model_files",
        "slide_deploy.precisions",
        "slide_deploy.saved.tflite",
        "slide_deploy.saved.untrusted",
        "slide_deploy.files.validation",
    },
    "slide_deploy.files.companions": {
        "slide_deploy.errors",
        "slide_deploy.formats",
        "slide_deploy.graph_checks",
        "slide_deploy.files.hashing",
    },
    "slide_deploy.files.validation": set(),
    "slide_deploy.evaluation": {
        "slide_deploy.formats",
        "slide_deploy.files.reading",
        "slide_deploy",
        "slide_deploy.files.companions",
        "slide_deploy.terminal.console",
        "slide_deploy.deployable",
        "slide_deploy.errors",
        "slide_deploy.graph_checks",
        "slide_deploy.files.hashing",
        "slide_deploy.images",
        "slide_deploy.images.description",
        "slide_deploy.precisions",
        "slide_deploy.terminal.printable",
        "slide_deploy.backends",
        "slide_deploy.process.torch_defaults",
        "slide_deploy.files.validation",
    },
    "slide_deploy.machine": set(),
    "slide_deploy.backends.doctor": {
        "slide_deploy",
        "slide_deploy.backends",
        "slide_deploy.formats",
        "slide_deploy.machine",
    },
    "slide_deploy.terminal.tables": set(),
    "slide_deploy.terminal.console": {
        "slide_deploy.terminal.printable",
        "slide_deploy.backends.doctor",
        "slide_deploy.verification.noise",
        "slide_deploy.verification.parity",
        "slide_deploy.terminal.tables",
    },
    "slide_deploy.terminal.progress": {
        "slide_deploy.terminal.console",
        "slide_deploy.process.interruption",
    },
    "slide_deploy.presets": {"slide_deploy.errors"},
    # What files say of their image: whoever writes, runs or proves one reads it.
    "slide_deploy.images.description": {"slide_deploy.errors", "slide_deploy.terminal.printable"},
    "slide_deploy.images": {
        "slide_deploy.files.reading",
        "slide_deploy.errors",
        "slide_deploy.images.description",
        "slide_deploy.parsing",
        "slide_deploy.backends",
    },
    "slide_deploy.testing": {
        "slide_deploy.formats",
        "slide_deploy.verification.two_files",
        "slide_deploy.deployable",
        "slide_deploy.graph_checks",
        "slide_deploy.hosts",
        "slide_deploy.models",
        "slide_deploy.backends",
        "slide_deploy.verification.divergence",
        "slide_deploy.verification.parity",
        "slide_deploy.verification.verify",
    },
    "exporters": {"slide_deploy"},
    "benchmarks": {"slide_deploy"},
}
# Only the command line and the public functions wire everything; nobody else imports them.
WIRES = {"slide_deploy.tasks", "slide_deploy.cli", "slide_deploy.__main__", "slide_deploy.api"}
VERSION = "slide_deploy.__version__"
# Importable on a device without torch.
WITHOUT_TORCH = (
    *("backends", "graph_checks", "saved", "verification.parity", "precisions", "machine"),
    *("terminal.console", "errors", "formats", "tuning.store"),
    *(
        "files.companions",
        "images.collection",
        "evaluation.run",
        "evaluation.merging",
        "evaluation.gate",
    ),
    *(
        "evaluation.result_file",
        "evaluation.shown",
        "verification.draws",
        "verification.reference_outputs.checking",
        "verification.two_files",
    ),
)


@functools.cache
def modules() -> dict[str, Path]:
    found = {}
    for package in (*slide_deploy.PACKAGES, "studies"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imported(path: Path) -> set[str]:
    """Modules that a file imports, at the top or late."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: import absolutely, so that arrows can be seen"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module: str, rooms) -> str | None:
    inside = [name for name in rooms if module == name or module.startswith(name + ".")]
    return max(inside, key=len, default=None)


@pytest.mark.parametrize("module", sorted(modules()))
def test_arrows(module: str) -> None:
    if module == "slide_deploy" or room(module, {*WIRES, "studies"}):
        return
    home = room(module, ARROWS)
    assert home, f"{module} is in no room: give it one in ARROWS and in docs/architecture.md"
    for name in imported(modules()[module]):
        if name.split(".")[0] not in slide_deploy.PACKAGES:
            continue
        target = room(name, [*ARROWS, *WIRES]) or "slide_deploy"
        assert target not in WIRES, f"{module} imports {name}, which wires everything"
        public = {f"slide_deploy.{each}" for each in dir(slide_deploy)} - {VERSION}
        assert name not in public, f"{module}: import {name} from its own module"
        if home in {"exporters", "benchmarks"} and target.startswith("slide_deploy"):
            continue
        assert target == home or target in ARROWS[home], f"{module} must not import {name}"


def test_nothing_installed_imports_studies() -> None:
    """Not even ``slide_deploy.tasks``, which may import everything else."""
    found = {
        name: studies
        for name, path in modules().items()
        if not room(name, ["studies"])
        and (studies := {each for each in imported(path) if room(each, ["studies"])})
    }
    assert found == {}


# The modules of a family, and who may know them: the family itself, and the tuple that names all
# families.
FAMILIES = ("slide_swin", "pvt", "pvt_v2", "cswin", "nat")
FAMILY = tuple(
    f"slide_deploy.{room}.{family}" for room in ("hosts", "models") for family in FAMILIES
)
KNOW_FAMILIES = (*FAMILY, "slide_deploy.hosts.registry")


@pytest.mark.parametrize("module", sorted(modules()))
def test_nobody_else_knows_a_family(module: str) -> None:
    if room(module, KNOW_FAMILIES):
        return
    known = [name for name in imported(modules()[module]) if room(name, FAMILY)]
    assert not known, f"{module} imports {known}: ask the record of the host family"


# What rewrites traced programs: operators and their values are all that it looks at.
REWRITES = (
    *("slide_deploy.program", "slide_deploy.branches", "slide_deploy.layouts"),
    "slide_deploy.passes",
)


def classes_of(*rooms: str) -> set[str]:
    """Names of the classes that some rooms define."""
    return {
        node.name
        for module, path in modules().items()
        if room(module, rooms)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def words_of(path: Path) -> set[str]:
    """Names and texts in the code of a file; docstrings and comments say what they like."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.alias):
            words |= {node.name.rpartition(".")[2], node.asname or ""}
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            words |= set(re.findall(r"\w+", str(node.value)))
    return words


def test_public_class_names_are_unique() -> None:
    """A reader who sees a class's name knows which one it is."""
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("module", sorted(each for each in modules() if room(each, REWRITES)))
def test_rewrites_know_no_host_and_no_format(module: str) -> None:
    formats = {word for each in known_formats() for word in (each.name, *_runtimes(each))}
    known = classes_of("slide_deploy.hosts", "slide_deploy.models") | formats
    named = words_of(modules()[module]) & known
    assert not named, f"{module} names {named}: a rewrite looks at operators and their values only"


def _runtimes(format: Format) -> set[str]:
    return {target.partition(":")[0] for target in format.targets}


def test_the_test_of_rewrites_sees_names(tmp_path: Path) -> None:
    path = tmp_path / "of_a_host.py"
    path.write_text('"""Only for onnx files, see SlideSwin."""\nkind = "a SlideSwin" # openvino\n')
    assert words_of(path) & classes_of("slide_deploy.models") == {"SlideSwin"}
    assert not words_of(path) & {"onnx", "openvino"}
    path.write_text("if layer.format == 'onnx': WindowAttention(layer)\n")
    assert {"onnx", "WindowAttention"} <= words_of(path)


def test_every_pass_is_named_by_a_format() -> None:
    named = {name for format in known_formats() for name in format.passes}
    rewrites = {
        module.rpartition(".")[2]
        for module, path in modules().items()
        if module.startswith("slide_deploy.passes.") and "\ndef rewrite(" in path.read_text()
    }
    assert rewrites == named, "a pass that no format names is dead; one that is named must exist"


def test_rooms_for_devices_import_without_torch() -> None:
    import subprocess
    import sys

    names = [f"slide_deploy.{room}" for room in WITHOUT_TORCH]
    code = (
        "import sys, importlib\nsys.modules['torch'] = None\n"
        f"for name in {names}: importlib.import_module(name)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
