"""What is known of a format stands in its record, and nowhere else."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.formats import (
    Format,
    format_named,
    format_names,
    format_of,
    format_run_on,
    known_formats,
)
from slide_deploy.graph_checks import standard_ops
from slide_deploy.lowerings import FORMS
from slide_deploy.precisions import precision_named
from tests.test_architecture import ROOT, modules

FORMATS = pytest.mark.parametrize("format", known_formats(), ids=format_names())


@FORMATS
def test_every_module_that_a_record_names_has_what_it_must_have(format: Format) -> None:
    assert callable(import_module(format.exporter).write)
    reader = import_module(format.reader)
    assert callable(reader.read)
    assert (reader.DIALECT.format, bool(reader.DIALECT.kinds)) == (format.name, True)
    targets = [target_named(name) for name in format.targets]
    assert targets[-1].intermediates is not None  # the last one shows the values inside
    proving = {target_named(name) for name in format.proved_on.values()}
    assert all(format.suffix in target.suffixes for target in (*targets, *proving))
    # Of a preview, files may be proved before anything is known of their speed.
    assert target_named(format.target).is_timed or format.is_preview


@FORMATS
def test_every_word_of_a_record_means_something(format: Format) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert format.extra in project["optional-dependencies"]
    assert set(format.proved_on) <= set(format.precisions)
    assert format.default_form in FORMS
    assert [precision_named(name).name for name in format.precisions] == list(format.precisions)
    assert format.name in standard_ops().formats
    assert format_named(format.name) is format_run_on(format.target) is format


def test_a_file_has_the_format_of_its_suffix_in_any_spelling() -> None:
    assert format_of(Path("a/model.ONNX")).name == "onnx"
    assert format_of(Path("model.onnx.mlpackage")).name == "coreml"
    with pytest.raises(InputError, match=r"model\.pth is of no known kind: .* \.onnx, \.xml"):
        format_of(Path("model.pth"))
    with pytest.raises(InputError, match="tflite is not a format: choose one of onnx, openvino,"):
        format_named("tflite")


def test_a_target_of_no_format_is_told() -> None:
    assert format_run_on("onnxruntime:cuda") is format_named("onnx")
    assert format_run_on("torch:cpu") is None


def test_formats_and_precisions_are_known_without_any_library() -> None:
    code = (
        "import sys, slide_deploy.formats, slide_deploy.precisions\n"
        "print([name for name in ('torch', 'numpy', 'onnx', 'typer') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr


# What these know is knowledge of runtimes: their bugs, their packages, their makers' tools.
ABOUT_RUNTIMES = {
    "slide_deploy.graph_checks.rules.runtime_bugs",
    "benchmarks.bundle",
    "studies.passes.plain",
    "studies.trust.vendors",
}


def decided_by(node: ast.AST) -> list[ast.expr | None]:
    """The keys of a table, or what a comparison compares; members of a collection one by one."""
    if isinstance(node, ast.Dict):
        return [*node.keys]
    if not isinstance(node, ast.Compare):
        return []
    sides = [node.left, *node.comparators]
    collections = [each.elts for each in sides if isinstance(each, ast.Tuple | ast.List | ast.Set)]
    return [*sides, *(item for items in collections for item in items)]


def test_no_code_decides_by_the_name_of_a_format() -> None:
    """No table is keyed by format names or suffixes, and nothing is compared with one."""
    words = {*format_names(), *(format.suffix for format in known_formats())}
    found = [
        f"{name}:{part.lineno}: {part.value}"
        for name, path in modules().items()
        if name not in ABOUT_RUNTIMES
        for node in ast.walk(ast.parse(path.read_text()))
        for part in decided_by(node)
        if isinstance(part, ast.Constant) and part.value in words
    ]
    assert found == []
