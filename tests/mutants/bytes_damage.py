"""Damage to the bytes of a file, independent of their meaning."""

from pathlib import Path


def structure_of(path: Path) -> Path:
    """The file that holds the graph."""
    return next(path.rglob("*.mlmodel")) if path.is_dir() else path


def weights_of(path: Path) -> Path:
    """The file that holds the weights, if they are in a separate one."""
    return next(path.rglob("weight.bin")) if path.is_dir() else path.with_suffix(".bin")


def cut_in_half(path: Path) -> None:
    file = structure_of(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(path: Path) -> None:
    structure_of(path).write_bytes(b"")


def weights_cut(path: Path) -> None:
    file = weights_of(path)
    file.write_bytes(file.read_bytes()[:-100])


def weights_missing(path: Path) -> None:
    weights_of(path).unlink()


def weights_shifted(path: Path) -> None:
    """Four bytes are removed at the beginning and four are added at the end."""
    file = weights_of(path)
    file.write_bytes(file.read_bytes()[4:] + bytes(4))


def manifest_missing(path: Path) -> None:
    (path / "Manifest.json").unlink()


def weights_left_over(path: Path) -> None:
    """A thousand numbers that no operator uses follow the weights."""
    file = weights_of(path)
    file.write_bytes(file.read_bytes() + bytes(range(250)) * 16)


def replaced(path: Path) -> Path:
    """The content of the file, or of every file of the package, is replaced."""
    inner = path.rglob("*") if path.is_dir() else (path,)
    for file in inner:
        if file.is_file():
            file.write_bytes(b"damaged")
    return path
