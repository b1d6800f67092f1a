"""Record of a network's quantised files in one format, stored beside the files."""

from dataclasses import dataclass
from pathlib import Path

from slide_deploy.errors import InputError
from studies.network_files import RECORD, read_record, write_record

# Names of the float32 variant and of the variant with the format's default families.
FLOAT32, DEFAULT = "float32", "default"


@dataclass(frozen=True)
class QuantisedVariant:
    """A file with some families of operators in int8.

    Attributes:
        name: Name in tables.
        file: File name; empty if the file could not be written.
        families: Quantised families; empty for the float32 file.
        operators: Number of quantised operators.
        size: Bytes of all its files.
        snr_db: One number, its signal-to-noise ratio on held-out examples, after removing the mean
            output; empty if the file does not run.
        fault: One sentence on why it should not be used; empty if nothing is wrong.
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
        """Whether it runs. A file with wrong outputs is raced too."""
        return bool(self.snr_db)


@dataclass(frozen=True)
class WrittenFamily:
    """The files of a network in one format.

    Attributes:
        network: Name of the network.
        format: Format of the files.
        target: Target that runs them.
        quick: Whether the network has its quick size, whose figures are meaningless.
        examples: Data of the calibration.
        variants: The float32 file first, then the file with the format's default families.
    """

    network: str
    format: str
    target: str
    quick: bool
    examples: str
    variants: tuple[QuantisedVariant, ...]

    def write(self, folder: Path) -> None:
        """Write the record into the folder of the files."""
        write_record(self, folder / RECORD)

    def named(self, name: str) -> QuantisedVariant:
        """Return a variant by its name.

        Raises:
            InputError: There is no such variant.
        """
        for each in self.variants:
            if each.name == name:
                return each
        raise InputError(f"There is no file {name} of {self.network}: write the files again.")


def read(folder: Path) -> WrittenFamily:
    """Read the record of a folder.

    Raises:
        InputError: The record is missing or damaged.
    """
    return read_record(WrittenFamily, folder / RECORD, "make bench-quantisation")
