"""What was written of a network in one format: plain data beside the files."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.network_files import read_record, write_record
from slide_deploy.errors import InputError

# What ratios are taken to, and what the format's record says.
FLOAT32, DEFAULT = "float32", "default"


@dataclass(frozen=True)
class QuantisedVariant:
    """A file with some families of operators in int8.

    Attributes:
        name: for tables.
        file: its name; empty where none could be made.
        families: that are quantised; none for the file in float32.
        operators: how many are.
        size: bytes of all its files.
        snr_db: list of one number, its signal-to-noise ratio on examples held back, without what
            answers have in common; empty where it does not run.
        fault: why nobody should take it, a sentence; empty where nothing is wrong.
    """

    name: str
    file: str
    families: tuple[str, ...]
    operators: int
    size: int
    snr_db: tuple[float, ...]
    fault: str

    @property
    def is_raced(self) -> bool:
        """Whether it runs; a file whose answers are wrong is raced all the same."""
        return bool(self.snr_db)


@dataclass(frozen=True)
class WrittenFamily:
    """The files of a network in one format.

    Attributes:
        network: its name.
        format: of the files.
        target: that runs them.
        quick: whether the network is the small one, whose figures say nothing.
        examples: what ranges were measured on.
        variants: the file in float32 first, then that with the families of the format's record.
    """

    network: str
    format: str
    target: str
    quick: bool
    examples: str
    variants: tuple[QuantisedVariant, ...]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the files."""
        write_record(self, folder)

    def named(self, name: str) -> QuantisedVariant:
        """A variant by its name.

        Raises:
            InputError: if there is none.
        """
        for each in self.variants:
            if each.name == name:
                return each
        raise InputError(f"There is no file {name} of {self.network}: write the files again.")


def read(folder: Path) -> WrittenFamily:
    """What was written into a folder.

    Raises:
        InputError: if the record is missing or damaged.
    """
    return read_record(WrittenFamily, folder)
