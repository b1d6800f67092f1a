"""Which files belong to a model, and the hash that tells it from every other.

The hash of one file or folder is that of the manifest. That of several files is made of theirs as
`hashing.sha256` makes it for a folder. Measuring and evaluating use the same, so that what one says
of a file can be told to the other.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.formats import find_format
from slide_deploy.graph_checks import Graph, read_graph


def graph_of(path: Path) -> Graph | None:
    """The graph; None where no reader takes it.

    Raises:
        InputError: the file does not exist.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    try:
        return read_graph(path)
    except InputError:
        # Damaged, or of a format that only its runtime can read: running it will tell.
        return None


def parts_of(path: Path, graph: Graph | None) -> dict[str, Path]:
    """The file or folder itself and its companions, by their paths beside it."""
    parts = {path.name: path}
    if path.is_dir():
        return parts
    folder = path.parent.resolve()
    usual = [path.with_name(path.name + ".data"), path.with_name(path.name + "_data")]
    format = find_format(path)
    if format is not None:
        usual += [path.with_suffix(suffix) for suffix in format.companions]
    for item in [item for item in usual if item.is_file()] if graph is None else graph.files:
        if item != path:
            # A reader resolves links in the names of companions.
            home = folder if item.is_relative_to(folder) else path.parent
            parts[item.relative_to(home).as_posix()] = item
    return parts


def files_in(parts: Mapping[str, Path]) -> dict[str, Path]:
    """The same, with folders taken apart into their files."""
    found: dict[str, Path] = {}
    for name, part in parts.items():
        if part.is_dir():
            inside = [item for item in part.rglob("*") if item.is_file()]
            found |= {f"{name}/{item.relative_to(part).as_posix()}": item for item in inside}
        else:
            found[name] = part
    return dict(sorted(found.items()))


def files_of(path: Path) -> dict[str, Path]:
    """Every regular file that a model needs to run, by its path beside the model, sorted.

    Raises:
        InputError: the model does not exist.
    """
    return files_in(parts_of(path, graph_of(path)))


def digests_of(parts: Mapping[str, Path]) -> dict[str, str]:
    """The hash of each part, as the manifest has them."""
    return {name: sha256(part) for name, part in parts.items()}


def digest_of(digests: Mapping[str, str]) -> str:
    """One hash for all parts."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_digest(path: Path) -> str:
    """The hash of a model and all that belongs to it.

    Raises:
        InputError: the model does not exist.
    """
    return digest_of(digests_of(parts_of(path, graph_of(path))))
