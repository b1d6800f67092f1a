"""The command fold writes folded attentions, and reports which branches export merges."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support import GOLDEN

NET = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.point = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.dense(x) + self.point(x)) + x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.other = Block(), Block()

    def forward(self, image):
        x = self.block(image).relu()
        kept = self.other.dense(x)
        return kept + self.other.point(x), kept

class Deciding(Net):
    def forward(self, image):
        return self.block(image) if image.sum() > 0 else image
"""


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ...]]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "own_branched_net.py").write_text(NET)
    yield ("--input", "image=1x3x16x16", "-o", "folded.safetensors", "--model")
    sys.modules.pop("own_branched_net", None)


def test_the_table_lists_merged_branches(run, named: tuple[str, ...]) -> None:
    code, out, err = run("fold", *named, "own_branched_net:Net")
    assert code == 0, err
    assert "fold: nothing to fold" in out
    assert "Branches in folded.safetensors that export merges" in out
    assert "block (Block)" in out and "2 convolutions and 1 normalisation" in out
    assert "note: Net keeps its branches: a value in between has other readers" in out
    assert max(len(line) for line in out.splitlines() if "note" not in line) <= 100
    held = load_file("folded.safetensors")
    assert {"block.dense.weight", "block.point.weight", "block.norm.running_var"} <= set(held)


def test_json_separates_merged_branches_from_folded_layers(run, named: tuple[str, ...]) -> None:
    code, out, err = run("fold", *named, "own_branched_net:Net", "--json", "-")
    assert code == 0, err
    content = json.loads(out)
    assert content["status"] == "nothing to fold" and content["certificate"]["merged"] == []
    (change,) = content["merged_by_export"]["merged"]
    assert change["layer"] == "block (Block)" and change["error"] < 1e-12 < change["rounding"]
    (refusal,) = content["merged_by_export"]["not_merged"]
    assert "has other readers" in refusal["why"]


def test_a_network_that_cannot_be_traced_is_still_folded(run, named: tuple[str, ...]) -> None:
    code, out, err = run("fold", *named, "own_branched_net:Deciding")
    assert code == 0, err
    assert "note: branches were not searched: own_branched_net:Deciding cannot be traced" in out
    assert Path("folded.safetensors").exists()


def test_a_checkpoint_without_branches_does_not_mention_them(run, tmp_path: Path) -> None:
    nano = GOLDEN / "slide_swin_nano.pth"
    code, out, _ = run("fold", nano, "-o", tmp_path / "folded.safetensors")
    assert code == 0 and "export" not in out and "note" not in out
