"""Whether a folder is complete: the old files or the new ones, and nothing else."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from slide_deploy.files.hashing import sha256

Tree = dict[str, str]
_HIDDEN = ".slide-deploy"


@dataclass
class Tally:
    """What became of one fault.

    Attributes:
        injected: how often it was.
        lost: files that were neither complete old nor complete new ones.
        wrong: manifests that say of a file what it is not.
        leftovers: files that nobody asked for.
        messages: what the commands said, each once.
        problems: what was otherwise than promised, each with its occasion.
    """

    injected: int = 0
    lost: int = 0
    wrong: int = 0
    leftovers: int = 0
    messages: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what was promised and is not so."""
        if not holds:
            self.problems.append(otherwise)

    def said(self, sentence: str) -> None:
        """Note a message."""
        if sentence and sentence not in self.messages:
            self.messages.append(sentence)

    def look(self, folder: Path, *allowed: Tree, occasion: str = "") -> None:
        """Count one fault, and what a folder holds after it.

        Args:
            folder: to look at; may be missing.
            allowed: all that it may hold.
            occasion: for the list of problems.
        """
        self.injected += 1
        found = tree(folder)
        visible = {name: digest for name, digest in found.items() if _HIDDEN not in name}
        lost = min(len(visible.items() ^ each.items()) for each in allowed)
        hidden = sorted(found.keys() - visible.keys())
        wrong = wrong_manifest(folder)
        self.lost += lost
        self.wrong += bool(wrong)
        self.leftovers += len(hidden)
        if lost or hidden or wrong:
            self.problems.append(f"{occasion or folder}: {sorted(visible)}, {hidden}, {wrong}")

    def look_for_temporaries(self, folder: Path) -> None:
        """Count what a command left among its temporary files."""
        # ONNX Runtime keeps the number of its session there, whoever runs it.
        found = sorted(tree(folder).keys() - {".ses"})
        self.leftovers += len(found)
        if found:
            self.problems.append(f"temporary files: {found[:5]}")


def tree(folder: Path) -> Tree:
    """Every file below a folder with its hash, and every link with what it names."""
    found: Tree = {}
    for home, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(home) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[relative] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[relative] = sha256(path)
            elif not any(path.iterdir()):
                found[relative] = "an empty folder"
    return found


def wrong_manifest(folder: Path) -> list[str]:
    """Files of which the manifest in a folder says what they are not."""
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return []
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        stated = {k: v for each in entries for k, v in each["sha256"].items()}
        stated |= {k: v for each in entries for k, v in each["reference_outputs"].items()}
    except (ValueError, KeyError):
        return ["manifest.json"]
    return [
        name
        for name, digest in stated.items()
        if not (folder / name).exists() or sha256(folder / name) != digest
    ]
