"""The files that belong to a model, and the hash that identifies it.

The hash of a single file or folder is the one in the manifest. The hash of several files is
computed from theirs, as `hashing.sha256` does for a folder. Benchmarks and evaluation use the same
hash, so that their results for one file can be joined.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.formats import find_format
from slide_deploy.graph_checks import Graph, read_graph


def graph_of(path: Path) -> Graph | None:
    """Read the graph of a model; None if no reader can.

    Raises:
        InputError: the file does not exist.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    try:
        return read_graph(path)
    except InputError:
        # Damaged, or in a format that only its runtime reads. Running it will show which.
        return None


def parts_of(path: Path, graph: Graph | None) -> dict[str, Path]:
    """Return the file or folder and its companions, by path relative to its folder."""
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
            # A reader resolves symbolic links in the names of companions.
            home = folder if item.is_relative_to(folder) else path.parent
            parts[item.relative_to(home).as_posix()] = item
    return parts


def files_in(parts: Mapping[str, Path]) -> dict[str, Path]:
    """Replace folders by the files in them; the result is sorted by name."""
    found: dict[str, Path] = {}
    for name, part in parts.items():
        if part.is_dir():
            inside = [item for item in part.rglob("*") if item.is_file()]
            found |= {f"{name}/{item.relative_to(part).as_posix()}": item for item in inside}
        else:
            found[name] = part
    return dict(sorted(found.items()))


def files_of(path: Path) -> dict[str, Path]:
    """Return every file that a model needs to run, by path relative to its folder, sorted.

    Raises:
        InputError: the model does not exist.
    """
    return files_in(parts_of(path, graph_of(path)))


def digests_of(parts: Mapping[str, Path]) -> dict[str, str]:
    """Return the hash of each part, as in the manifest."""
    return {name: sha256(part) for name, part in parts.items()}


def digest_of(digests: Mapping[str, str]) -> str:
    """Combine the hashes of all parts into one."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_digest(path: Path) -> str:
    """Return the hash of a model and its companions.

    Raises:
        InputError: the model does not exist.
    """
    return digest_of(digests_of(parts_of(path, graph_of(path))))
