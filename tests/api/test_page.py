"""docs/python.md: every snippet runs, one after the other, as one script."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import slide_deploy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.mark.full
def test_every_snippet_runs(tmp_path: Path) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(snippets) == PAGE.count("```") // 2 >= 8
    shutil.copy(ROOT / "examples" / "digits.pth", tmp_path)
    (tmp_path / "page.py").write_text("\n".join(snippets))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = re.findall(r"print\(error\)  # (.*)", PAGE)
    assert said and all(sentence in done.stdout for sentence in said)
    assert "Export of Classifier: every file is right" in done.stdout
    assert (tmp_path / "open" / "any_size.onnx").exists() and (tmp_path / "run.html").exists()


def test_the_page_names_every_function_and_error() -> None:
    for name in dir(slide_deploy):
        value = getattr(slide_deploy, name)
        is_error = isinstance(value, type) and issubclass(value, Exception)
        if is_error or not isinstance(value, type | str):
            assert re.search(rf"^\| `{name}[(`]", PAGE, re.MULTILINE), f"{name} is not in a table"
