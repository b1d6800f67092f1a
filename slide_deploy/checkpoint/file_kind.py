"""Recognise a checkpoint, or a file that is often mistaken for one, by its first bytes."""

import re
import zipfile
from pathlib import Path
from typing import Any, Literal, cast

from slide_deploy.errors import InputError
from slide_deploy.formats import find_format

Kind = Literal["torch", "safetensors"]

_SAVE = "save model.state_dict() with torch.save in the program that made it and use that file"
_AGAIN = "download the checkpoint itself"

# Bytes of an archive's table. Ten thousand tensors take 1 MiB.
_LARGEST_TABLE = 16 << 20

# First bytes of files that are given instead of checkpoints, and the message for each.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "is compressed with gzip: unpack it first, for example with gunzip"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes: it holds no PyTorch weights"),
    (b"\x93NUMPY", "is a numpy array: save the weights by name with torch.save instead"),
    (b"GGUF", "is a GGUF file: it holds quantised weights; use the original checkpoint"),
    (b"\x89PNG", "is a picture: give the checkpoint"),
    (b"\xff\xd8\xff", "is a picture: give the checkpoint"),
    (b"%PDF", "is a PDF document: give the checkpoint"),
)
_TAR_MARK = slice(257, 262)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")


def kind_of(path: Path, shard_of_many: bool = False) -> Kind:
    """Find out with which reader a file is read.

    Args:
        path: a file that exists and is not empty.
        shard_of_many: whether the other shards are read as well; a single shard is refused.

    Raises:
        InputError: the file is recognised as something else; the message says what it is.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if not shard_of_many:
        _refuse_shard(path)
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            raise InputError(f"{path} {what}.")
    if start[_TAR_MARK] == b"ustar":
        raise InputError(f"{path} is a tar archive: unpack it and name the checkpoint inside.")
    _refuse_text(path, start)
    if start.startswith(b"PK\x03\x04"):
        _refuse_other_archives(path)
        return "torch"
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= path.stat().st_size:
        return "safetensors"
    if path.suffix == ".safetensors":
        raise InputError(f"{path} is not a whole safetensors file: copy it again.")
    if find_format(path) is not None:
        raise InputError(
            f"{path} has the suffix of an exported file: give the checkpoint that it was exported "
            f"from."
        )
    return "torch"


def members_of(file: Any) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip archive by name; nothing is unpacked.

    Args:
        file: a seekable binary file.

    Raises:
        BadZipFile: it is no zip archive, or its table is larger than any checkpoint's.
        ValueError, OSError, NotImplementedError: it is damaged, as ``zipfile`` reports it.
    """
    with zipfile.ZipFile(cast("Any", _Table(file))) as archive:
        return {item.filename: item for item in archive.infolist()}


class _Table:
    """A file that limits the size of a read, because ``zipfile`` reads the table at once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1, /) -> bytes:
        content: bytes = self._file.read(
            _LARGEST_TABLE + 1 if size < 0 else min(size, _LARGEST_TABLE + 1)
        )
        if len(content) > _LARGEST_TABLE:
            raise zipfile.BadZipFile("its table of members is larger than any checkpoint's")
        return content

    def seekable(self) -> bool:
        return True


def _refuse_shard(path: Path) -> None:
    match = _SHARD.search(path.name)
    if match is None or int(match[2]) < 2:
        return
    indexes = sorted(path.parent.glob("*.index.json"))
    index = str(indexes[0]) if indexes else "the .index.json file that belongs to it"
    raise InputError(
        f"{path} is shard {int(match[1])} of {int(match[2])}: name {index}, or the folder."
    )


def _refuse_text(path: Path, start: bytes) -> None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        raise InputError(f"{path} is a web page that was saved under this name: {_AGAIN}.")
    if text.startswith((b"<?xml", b"<net ")):
        what = "an OpenVINO file" if b"<net " in text else "an XML document"
        raise InputError(f"{path} is {what}: give the checkpoint that was trained.")
    if text.startswith((b'{"', b"{\n", b"{ ", b"[{")):
        raise InputError(f"{path} is a JSON text: give the file with the weights.")
    if start and not start.strip(b"\0"):
        raise InputError(f"{path} begins with zeros only: copy the checkpoint again.")
    # The oldest pickles are text as well: lines that begin with an operation.
    first = start[:64].split(b"\n")[0]
    if len(first) > 2 and re.fullmatch(rb"[\w:<'\"# -][ -~]*\r?", first) and b" " in first:
        shown = first.decode("ascii").strip()[:32]
        raise InputError(f"{path} is a text (“{shown}”): download the checkpoint itself.")


def _refuse_other_archives(path: Path) -> None:
    """Raise InputError for zip archives that ``torch.save`` did not write."""
    try:
        with path.open("rb") as file:
            names = list(members_of(file))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # the reader reports what is wrong
    ends = {name.partition("/")[2] for name in names}
    if "constants.pkl" in ends or "bytecode.pkl" in ends:
        raise InputError(f"{path} is a TorchScript program, which is code: {_SAVE}.")
    if "archive_format" in ends or any("serialized_exported_program" in name for name in names):
        raise InputError(f"{path} is an exported program (torch.export), which is code: {_SAVE}.")
    if any("/.data/extern_modules" in name for name in names):
        raise InputError(f"{path} is a torch.package, which is code: {_SAVE}.")
    if any(name.endswith(".npy") for name in names):
        raise InputError(f"{path} is a numpy archive: save the weights with torch.save instead.")
    if not any(name.endswith("/data.pkl") for name in names):
        listed = ", ".join(names[:3])
        raise InputError(
            f"{path} is a zip archive with {listed}: unpack it and give the checkpoint inside."
        )
