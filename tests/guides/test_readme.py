"""README.md: what it says of one's own network runs as it stands there."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.guides.snippets import DOCS, ROOT, blocks, follow
from tests.written_elsewhere import branched

README = ROOT / "README.md"


@pytest.mark.full
def test_the_readme_runs_from_its_first_block_to_its_last(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The network and the checkpoint that a reader has.
    [network] = [b.text for b in blocks(DOCS / "python.md") if "class Classifier" in b.text]
    code = network.partition("\ntorch.manual_seed")[0]
    (tmp_path / "net.py").write_text(f"{code}\n\ndef build():\n    return Classifier()\n")
    shutil.copy(ROOT / "examples" / "digits.pth", tmp_path / "model.pth")
    shutil.copy(branched(), tmp_path / "theirs.onnx")
    # A clone, an environment and its packages are what the tests run in.
    installing = ("make demo", "make test", "make wheel", "python3 -m venv", "pip install")
    follow(README, tmp_path, run, dict.fromkeys(installing))
    assert (tmp_path / "folded.onnx").read_bytes() != (tmp_path / "theirs.onnx").read_bytes()
    for folder, stem in (
        ("from-python", "classifier"),
        ("from-code", "build"),
        ("exported", "model"),
    ):
        written = {path.name for path in (tmp_path / folder).iterdir()}
        assert {f"{stem}.onnx", f"{stem}.xml", f"{stem}.mlpackage"} <= written


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150
