"""What was written of a network in one format: plain data beside the files."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.tuning.strict import decode
from slide_deploy.writing import write_text

FILES = "files.json"
# What other tools write of the same network.
PLAIN = "plain"


@dataclass(frozen=True)
class Written:
    """The files of a network in one format.

    Attributes:
        network: its name.
        format: of the files.
        target: that runs them.
        quick: whether the network is the small one, whose figures say nothing.
        passes: of the format that a file can be written without, in order.
        files: the file of each variant by its name. Variants whose programs are the same have one
            file.
        changes: how many places each pass changed, by variant and pass; passes that changed
            nothing are left out.
        refused: why there is no file of a variant, a sentence each.
    """

    network: str
    format: str
    target: str
    quick: bool
    passes: tuple[str, ...]
    files: dict[str, str]
    changes: dict[str, dict[str, int]]
    refused: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the files."""
        write_text(folder / FILES, json.dumps(asdict(self), indent=2) + "\n")


def read(folder: Path) -> Written:
    """What was written into a folder.

    Raises:
        InputError: if the record is missing or damaged.
    """
    path = folder / FILES
    try:
        return decode(Written, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no record of files ({error}): write them again.") from error


def folders(place: Path) -> Iterator[Path]:
    """The folders of all networks and formats, in the order in which networks are listed.

    Raises:
        InputError: if there is none.
    """
    from benchmarks.passes.networks import NETWORKS

    order = {each.name: index for index, each in enumerate(NETWORKS)}
    found = [path.parent for path in place.glob(f"*/*/{FILES}")]
    if not found:
        raise InputError(f"{place} holds no files of networks: run make bench-passes.")
    yield from sorted(found, key=lambda each: (order.get(each.parent.name, len(order)), each.name))
