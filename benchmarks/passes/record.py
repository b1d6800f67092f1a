"""What was written of a network in one format: plain data beside the files."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.network_files import read_record, write_record

# What other tools write of the same network.
PLAIN = "plain"


@dataclass(frozen=True)
class WrittenVariant:
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
        write_record(self, folder)


def read(folder: Path) -> WrittenVariant:
    """What was written into a folder.

    Raises:
        InputError: if the record is missing or damaged.
    """
    return read_record(WrittenVariant, folder)
