"""Record of a network's files in one format, stored beside the files."""

from dataclasses import dataclass
from pathlib import Path

from studies.network_files import RECORD, read_record, write_record

# Variant that another tool writes.
PLAIN = "plain"


@dataclass(frozen=True)
class WrittenVariant:
    """The files of a network in one format.

    Attributes:
        network: Name of the network.
        format: Format of the files.
        target: Target that runs them.
        quick: Whether the network has its quick size, whose figures are meaningless.
        passes: The format's optional passes, in order.
        files: File of each variant by its name. Variants with equal programs share a file.
        changes: Number of places that each pass changed, by variant and pass, without zeros.
        refused: One sentence on why a variant has no file, by variant.
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
        """Write the record into the folder of the files."""
        write_record(self, folder / RECORD)


def read(folder: Path) -> WrittenVariant:
    """Read the record of a folder.

    Raises:
        InputError: The record is missing or damaged.
    """
    return read_record(WrittenVariant, folder / RECORD, "make bench-passes")
