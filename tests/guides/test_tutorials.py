"""Each tutorial, followed from its first block to its last."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from slide_deploy.backends.web import assets
from tests.browser import launched, require_assets
from tests.guides.serving import served
from tests.guides.snippets import DOCS, ROOT, blocks, follow

TUTORIALS = DOCS / "tutorials"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model of the examples, which is the working directory."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "digits.pth", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snippet(page: Path, language: str) -> str:
    """All blocks of a language, one after the other."""
    return "\n".join(block.text for block in blocks(page) if block.language == language)


def test_every_tutorial_is_followed_by_a_test_and_named_by_the_readme() -> None:
    here = Path(__file__).read_text()
    readme = (ROOT / "README.md").read_text()
    for page in TUTORIALS.glob("*.md"):
        assert f'"{page.name}"' in here and f"docs/tutorials/{page.name}" in readme


@pytest.mark.full
def test_to_an_iphone(run: Any, clone: Path) -> None:
    import coremltools

    page = TUTORIALS / "iphone.md"
    on_a_mac = dict.fromkeys(
        f"slide-deploy {command} ios/digits.mlpackage --target coreml:ane"
        for command in ("verify", "bench")
    )
    shown = follow(page, clone, run, on_a_mac)
    assert "zero" in shown, "predict names the digit of the picture"
    package = clone / "ios" / "digits.mlpackage"
    description = coremltools.utils.load_spec(str(package)).description
    swift = snippet(page, "swift")
    assert re.findall(r"(\w+)\(configuration:", swift) == [package.stem] * 2
    assert re.findall(r"\.prediction\((\w+):", swift) == [each.name for each in description.input]
    assert set(re.findall(r"output\.(\w+)", swift)) == {each.name for each in description.output}
    assert description.predictedFeatureName == "label"
    assert description.input[0].type.WhichOneof("Type") == "imageType"


@pytest.mark.full
def test_to_android_by_litert(run: Any, clone: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    page = TUTORIALS / "android.md"
    # tests/benchmarks/web/test_adb.py measures on a phone that is a folder.
    elsewhere = dict.fromkeys(
        (
            *("python3 -m venv", "pip install"),
            *("slide-deploy bench android/digits.onnx", "slide-deploy bench android/digits.tflite"),
            "slide-deploy export examples/digits.pth --to executorch",
        )
    )
    follow(page, clone, run, elsewhere)
    [name] = re.findall(r'context\.assets, "([^"]+)"', snippet(page, "kotlin"))
    interpreter = Interpreter(str(clone / "android" / name))
    [image], [logits] = interpreter.get_input_details(), interpreter.get_output_details()
    [size] = re.findall(r"val size = (\d+)", snippet(page, "kotlin"))
    assert list(image["shape"]) == [1, 3, int(size), int(size)] and len(logits["shape"]) == 2
    content = (clone / "android" / name).read_bytes().decode(errors="replace")
    numbers = re.findall(r"= floatArrayOf\(([^)]*)\)", snippet(page, "kotlin"))
    mean, deviation = ([float(each.strip().rstrip("f")) for each in n.split(",")] for n in numbers)
    assert f'"mean": {mean}, "deviation": {deviation}' in content


@pytest.mark.full
def test_to_a_browser(run: Any, clone: Path) -> None:
    require_assets()

    def install(folder: Path) -> None:
        package = folder / "node_modules" / "onnxruntime-web"
        package.mkdir(parents=True)
        (package / "dist").symlink_to(assets.require())

    page = TUTORIALS / "browser.md"
    npm = f"npm install onnxruntime-web@{assets.VERSION}"
    # tests/benchmarks/web opens the page that measures.
    elsewhere = {npm: install, "python3 -m http.server": None}
    elsewhere |= {"slide-deploy bench web/digits.onnx --web": None}
    follow(page, clone, run, elsewhere)
    assert (clone / "site" / "index.html").is_file()
    with served(clone) as address, launched() as browser:
        opened = browser.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(f"{address}/index.html")
        opened.wait_for_function("document.getElementById('answer').textContent", timeout=20_000)
        assert opened.inner_text("#answer") == "one" and not errors


@pytest.mark.full
def test_to_a_ci_gate(run: Any, clone: Path) -> None:
    follow(TUTORIALS / "ci.md", clone, run, {})
    assert "<failure" not in (clone / "check.xml").read_text()
    assert json.loads((clone / "check.sarif").read_text())["version"] == "2.1.0"
    assert (clone / "bench.html").is_file()


@pytest.mark.full
def test_to_an_unknown_device(run: Any, clone: Path) -> None:
    def make_environment(folder: Path) -> None:
        python = folder / "board" / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        # This environment has the runtimes; the code comes from the bundle alone.
        python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys.executable} -P "$@"\n')
        python.chmod(0o755)

    page = TUTORIALS / "bundle.md"
    pip = "board/venv/bin/python -m pip install"
    follow(page, clone, run, {"python3 -m venv board/venv": make_environment, pip: None})
    [result] = (clone / "board").glob("result-*.json")
    measured = json.loads(result.read_text())["measurements"]
    assert len(measured) == 2 and all(each["proof"]["cases"] for each in measured)
    assert (clone / "report.html").is_file()
