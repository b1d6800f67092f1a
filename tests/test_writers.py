"""Results are written in one way: no other code of ours writes a file where a user looks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("slide_deploy", "exporters", "benchmarks", "studies")

# Functions that make, fill or move a file, whatever they are called on.
_WRITING = frozenset(
    (
        *("copy", "copy2", "copyfile", "copytree", "move", "rename", "renames"),
        *("mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile"),
        *("dump", "save", "save_file", "save_model", "savez", "savez_compressed", "tofile"),
        *("hardlink_to", "symlink_to", "touch", "write_bytes", "write_text"),
        "write_etdump_result_to_file",
    )
)
# Functions of ours, or of what is no file.
_OUR_OWN = frozenset(("copy", "move", "write_text", "write_bytes"))
_OTHER_OWNERS = frozenset(("copy", "writing", "result_file"))

ONE_WAY = "is the one way itself"
INSIDE = "writes into a hidden folder, whose files are published as a whole or go with the process"
DRAFT = "writes a draft that takes the place of the result"
PIPE = "writes to another process, or to nowhere"
AGAIN = "writes what the same command makes again if it is damaged"

# Files that call such functions, each with the reason.
ALLOWED = {
    "slide_deploy/files/moves.py": ONE_WAY,
    "slide_deploy/files/scratch.py": ONE_WAY,
    "slide_deploy/files/writing.py": ONE_WAY,
    "slide_deploy/files/publishing.py": "asks with empty files which names a folder takes",
    "slide_deploy/saved/aimodel/worker.py": PIPE,
    "slide_deploy/backends/native_messages.py": PIPE,
    "slide_deploy/cli/__init__.py": PIPE,
    "benchmarks/measuring/process.py": PIPE,
    "benchmarks/measuring/worker.py": PIPE,
    "slide_deploy/backends/executorch/intermediates.py": INSIDE,
    "slide_deploy/backends/onnxruntime/large_models.py": INSIDE,
    "slide_deploy/backends/executorch/profile.py": INSIDE,
    "slide_deploy/verification/reference_outputs/reference_file.py": INSIDE,
    "exporters/coreml_exporter.py": INSIDE,
    "exporters/coreml_package.py": INSIDE,
    "exporters/executorch_exporter.py": INSIDE,
    "exporters/litert_exporter.py": INSIDE,
    "exporters/onnx_exporter.py": INSIDE,
    "exporters/onnx_weights.py": INSIDE,
    "exporters/openvino_exporter.py": INSIDE,
    "exporters/openvino_model.py": INSIDE,
    "exporters/pipeline.py": INSIDE,
    "exporters/quantisation/accuracy.py": INSIDE,
    "exporters/quantisation/coreml_file.py": INSIDE,
    "exporters/quantisation/onnx_file.py": INSIDE,
    "exporters/quantisation/onnx_half.py": INSIDE,
    "exporters/quantisation/openvino_file.py": INSIDE,
    "benchmarks/web/bundle.py": INSIDE,
    "exporters/onnx_ends.py": INSIDE,
    "slide_deploy/tasks/fold_file.py": INSIDE,
    "slide_deploy/deployable/save.py": DRAFT,
    "exporters/quantisation/noise.py": DRAFT,
    "studies/existing/files.py": DRAFT,
    "slide_deploy/tasks/suite_files.py": DRAFT,
    "benchmarks/bundle.py": DRAFT,
    "benchmarks/baselines/registry.py": DRAFT,
    "studies/sizes/exported.py": DRAFT,
    "slide_deploy/backends/web/assets.py": AGAIN,
    "studies/quantisation/nncf_in_onnx.py": AGAIN,
    "studies/passes/plain.py": AGAIN,
}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that write a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = function.value.id if isinstance(function.value, ast.Name) else ""
            if owner == "os" and function.attr == "replace":
                yield node
            elif function.attr == "copy" and not node.args:
                continue  # of an array
            elif function.attr in _WRITING and owner not in _OTHER_OWNERS:
                yield node
            elif function.attr == "replace" and len(node.args) == 1 and not node.keywords:
                yield node  # of a path; of a text it takes two
            elif function.attr in ("open", "fdopen") and _writes(node):
                yield node
        elif isinstance(function, ast.Name) and (
            (function.id in _WRITING and function.id not in _OUR_OWN)
            or (function.id == "open" and _writes(node))
        ):
            yield node


def _writes(call: ast.Call) -> bool:
    """Whether a file is opened for writing; a mode that is computed counts."""
    modes = [*call.args, *(each.value for each in call.keywords if each.arg == "mode")]
    return any(
        isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and len(each.value) <= 3
        and set(each.value) & set("wax+")
        for each in modes
    ) or any("O_WRONLY" in ast.dump(each) or "O_RDWR" in ast.dump(each) for each in modes)


def found() -> dict[str, list[int]]:
    """Lines of calls that write, by file."""
    files = [path for room in PACKAGES for path in sorted((ROOT / room).rglob("*.py"))]
    lines = {
        path.relative_to(ROOT).as_posix(): [
            call.lineno for call in calls(ast.parse(path.read_text(encoding="utf-8")))
        ]
        for path in files
    }
    return {name: each for name, each in lines.items() if each}


def test_nothing_else_writes_files() -> None:
    others = {name: lines for name, lines in found().items() if name not in ALLOWED}
    assert not others, "write through slide_deploy.files.writing or slide_deploy.files.publishing"


def test_every_exception_still_writes() -> None:
    assert set(ALLOWED) <= set(found())


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "path.open('wb')",
        "os.open(path, os.O_WRONLY)",
        "path.write_text('x')",
        "os.replace(a, b)",
        "a.rename(b)",
        "a.replace(b)",
        "shutil.move(a, b)",
        "torch.save(x, path)",
        "json.dump(x, file)",
        "TemporaryDirectory()",
    ],
)
def test_a_line_that_writes_is_seen(line: str) -> None:
    assert list(calls(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "write_text(path, 'x')"]
)
def test_a_line_that_does_not_write_is_passed_over(line: str) -> None:
    assert not list(calls(ast.parse(line)))
