"""A row of the table of faults, and what several rows need."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from tests.faults.judging import Tally, Tree, tree
from tests.faults.running import Ended, Fault, run
from tests.shared import once
from tests.support import random_swin

Break = Callable[[Tally, Path], None]


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        fault: what goes wrong.
        command: during which it does.
        inject: breaks things in an empty folder and counts what becomes of them.
        cost: of its test: "quick", "slow", or "full" for a rare run; "hour" for one that the
            command leaves out as well unless it is asked.
        needs_mounts: whether it needs a mount namespace of its own.
    """

    fault: str
    command: str
    inject: Break
    cost: str = "quick"
    needs_mounts: bool = False

    @property
    def name(self) -> str:
        """For the command line and for tests."""
        return f"{self.command}: {self.fault}"


def model() -> Path:
    """A checkpoint of two blocks: the smaller it is, the more faults a minute has."""

    def write(folder: Path) -> Path:
        network = random_swin(
            image_size=(16, 16),
            embed_dim=4,
            depths=(1, 1),
            num_heads=(1, 2),
            num_slide_stages=1,
            num_classes=4,
        )
        config = {"DATA": {"IMG_SIZE": 16}}
        torch.save({"model": network.state_dict(), "config": config}, folder / "small.pth")
        return folder / "small.pth"

    return once("the network of the faults", write)


def export(format: str, out: object = "out", *more: object) -> tuple[object, ...]:
    """The arguments of an export of a small network."""
    return ("export", model(), "--to", format, "--out", out, "-q", *more)


def old_and_new(here: Path, format: str, *faults: Fault) -> tuple[Tree, Tree, Ended]:
    """Put an old export into ``here/out``; what it is, what a new one makes of it, and how.

    The two differ in every file.

    Args:
        here: a folder.
        format: of both.
        faults: of the old export.
    """
    done = run(export(format), here, *faults)
    assert done.code == 0, done.said
    (here / "apart").mkdir()
    new = run(export(format, "out", *NEW, "--force"), here / "apart")
    assert new.code == 0, new.said
    return tree(here / "out"), tree(here / "apart" / "out"), new


# Another file than without it.
NEW = ("--features",)


def next_run(here: Path, out: object = "out", format: str = "onnx") -> Ended:
    """The run after the one that was ended: it is refused, as it has no ``--force``, and cleans."""
    return run(export(format, out), here)


def moments(number: int, seconds: float) -> list[float]:
    """Random moments of a run that takes some seconds, the same ones every time."""
    draw = random.Random(0)
    return [draw.uniform(0, 1.05 * seconds) for _ in range(number)]


@cache
def formats() -> tuple[str, ...]:
    """The formats that can be written and run here, and whose files are the same each time."""
    from exporters.base import exporter_for
    from slide_deploy.errors import InputError
    from slide_deploy.formats import known_formats

    found = []
    for each in known_formats():
        try:
            exporter = exporter_for(each.name)
            exporter.require()
            if not exporter.unprovable() and not each.is_preview:
                found.append(each.name)
        except InputError:
            continue
    return tuple(found)
