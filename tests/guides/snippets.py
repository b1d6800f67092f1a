"""Code blocks of the documentation, and what follows a page as a reader would."""

import glob
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Every page that somebody may read; the changelog tells of commands that were.
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
)

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SHELLS = ("console", "bash", "sh")
# Runs a command line in this process: the exit code, standard output and standard error.
Run = Callable[..., tuple[int, str, str]]
# What takes the place of a command that cannot run in a test, given the folder.
StandIn = Callable[[Path], None]


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: behind the fence, such as ``console``; may be empty.
        title: the name of the file that the block is, or the exit code of its commands.
        text: between the fences.
    """

    language: str
    title: str
    text: str

    @property
    def commands(self) -> tuple[str, ...]:
        """What is typed into a shell; lines that end with a backslash go on."""
        if self.language not in _SHELLS:
            return ()
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console" and any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return tuple(line.strip() for line in lines if line.strip())

    @property
    def exit_code(self) -> int:
        """Of each of its commands."""
        said = re.fullmatch(r"exit code (\d)", self.title)
        return int(said[1]) if said else 0


def blocks(page: Path) -> tuple[Block, ...]:
    """The blocks of a page in order."""
    return tuple(Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8")))


def follow(page: Path, folder: Path, run: Run, elsewhere: Mapping[str, StandIn | None]) -> str:
    """Do what a page says, from its first block to its last, in a folder.

    Args:
        page: whose blocks with a title are files, whose Python runs as scripts, and whose commands
            run in a shell; those of slide-deploy in this process.
        folder: to work in; the working directory of this process.
        run: the fixture.
        elsewhere: beginnings of commands that cannot run here, or whole commands, each with what
            takes its place. Each must be met.

    Returns:
        What the commands of slide-deploy printed.
    """
    missing, printed = set(elsewhere), []
    for block in blocks(page):
        if block.title and not block.title.startswith("exit code"):
            (folder / block.title).write_text(block.text)
        elif block.language == "python":
            _shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(block.text)}", folder, 0)
        for command in block.commands:
            begin = next((each for each in elsewhere if _begins(command, each)), None)
            words = shlex.split(command, comments=True)
            if begin is not None:
                missing.discard(begin)
                stand_in = elsewhere[begin]
                if stand_in is not None:
                    stand_in(folder)
            elif words[0] == "slide-deploy":
                code, out, err = run(*(path for word in words[1:] for path in _expanded(word)))
                assert code == block.exit_code, f"{command}\n{out}{err}"
                printed.append(out)
            else:
                _shell(command, folder, block.exit_code)
    assert not missing, f"{page.name} no longer says {missing}"
    return "".join(printed)


def _begins(command: str, beginning: str) -> bool:
    """Whether a command begins with whole words."""
    return f"{command} ".startswith(f"{beginning} ")


def _expanded(word: str) -> list[str]:
    return sorted(glob.glob(word)) if "*" in word else [word]


def _shell(command: str, folder: Path, code: int) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
