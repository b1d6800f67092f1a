"""Known ways to harm whoever opens a file, each tried on every reader that it may concern."""

import io
import json
import os
import signal
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from PIL import Image

from slide_deploy.checkpoint import file_kind
from slide_deploy.checkpoint.unpickle import MOST_OPERATIONS
from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_json, read_bytes
from slide_deploy.graph_checks import check_file
from slide_deploy.images.collection import is_picture
from slide_deploy.images.pictures import MOST_PIXELS, read_picture
from slide_deploy.terminal.console import as_text, table
from slide_deploy.terminal.printable import printable
from tests.fuzz.readers import READERS, Reader, reader_named
from tests.support import read_checkpoint

OURS = [each for each in READERS if not each.runs]
_SECONDS = 5


@contextmanager
def in_time() -> Iterator[None]:
    """Seconds, not forever, which is how long a pipe is waited for."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def in_place_of(reader: Reader, folder: Path, put: Callable[[Path], object]) -> None:
    """Something else stands where the first file of a reader's input stood."""
    reader.seed(folder)
    part = reader.parts_of(folder)[0]
    part.unlink()
    put(part)
    with in_time():
        try:
            reader.read(reader.named(folder, part))
        except InputError as error:
            assert len(str(error).splitlines()) == 1


READ_FILES = [each for each in OURS if each.name not in ("page's result", "image description")]


@pytest.mark.slow
@pytest.mark.parametrize("reader", READ_FILES, ids=lambda each: each.name)
def test_a_pipe_is_not_waited_for(reader: Reader, tmp_path: Path) -> None:
    in_place_of(reader, tmp_path, os.mkfifo)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READ_FILES, ids=lambda each: each.name)
def test_a_device_without_end_is_not_read(reader: Reader, tmp_path: Path) -> None:
    in_place_of(reader, tmp_path, lambda part: part.symlink_to("/dev/zero"))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READ_FILES, ids=lambda each: each.name)
def test_a_loop_of_links_ends(reader: Reader, tmp_path: Path) -> None:
    in_place_of(reader, tmp_path, lambda part: part.symlink_to(part))


# Pickles and archives.


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        for name, content in members.items():
            written.writestr(zipfile.ZipInfo(name), content)
    return path


@pytest.mark.slow
def test_a_pickle_of_millions_of_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x02](" + b"}" * (MOST_OPERATIONS + 1) + b"e.")
    with pytest.raises(InputError, match="more operations than any checkpoint needs"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["../climbs", "/absolute", "C:\\drive", "a/../../climbs"])
def test_an_archive_that_climbs_out_writes_nothing(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = archive(inside / "x.pth", {"archive/data.pkl": b"\x80\x02}.", name: b"evil"})
    with pytest.raises(InputError):
        read_checkpoint(path)
    assert [*tmp_path.rglob("*")] == [inside, path]


def test_an_archive_that_unfolds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("archive/data.pkl", b"\x80\x02}.")
        written.writestr("archive/data/0", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="compressed archive"):
        read_checkpoint(path)


def test_an_archive_of_millions_of_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_kind, "_LARGEST_TABLE", 100_000)
    path = archive(tmp_path / "x.pth", {f"archive/{number}": b"" for number in range(2_000)})
    with pytest.raises(InputError, match="table of members is larger"):
        read_checkpoint(path)


def test_members_that_overlap_are_read_where_they_say_and_no_further(tmp_path: Path) -> None:
    """Two storages of one place, and one that lies about its size."""
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(8.0), "b": torch.arange(8.0) + 1}, path)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02", 0, content.index(b"data/1", content.index(b"PK\x01\x02")))
    struct.pack_into("<II", content, start + 20, 2**31 - 1, 2**31 - 1)
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_checkpoint(path)


def test_a_tar_of_old_torch_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w") as written:
        item = tarfile.TarInfo("../climbs")
        item.size = 4
        written.addfile(item, io.BytesIO(b"evil"))
    with pytest.raises(InputError, match="is a tar archive"):
        read_checkpoint(path)
    assert not (tmp_path.parent / "climbs").exists()


def safetensors(path: Path, header: object, data: bytes = bytes(64), length: int = -1) -> Path:
    text = json.dumps(header).encode()
    size = len(text) if length < 0 else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def tensor(first: int, last: int, size: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [size], "data_offsets": [first, last]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": tensor(0, 32, 8), "b": tensor(16, 64, 12)},
        {"a": tensor(0, 64, 2**40)},
        {"a": tensor(0, 2**60, 2**58)},
        {"a": tensor(64, 0, 16)},
        {"a": tensor(0, 64, -16)},
    ],
    ids=["overlap", "larger than its bytes", "beyond the file", "backwards", "negative"],
)
def test_a_header_that_lies_is_refused(header: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_checkpoint(safetensors(tmp_path / "x.safetensors", header))


def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "x.safetensors", {}, bytes(20 << 20), length=17 << 20)
    with pytest.raises(InputError, match="header is larger"):
        read_checkpoint(path)


# Texts.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"a": 1, "a": 2}', "has a key twice"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "Infinity is not a number"),
        ("9" * 5000, "4300 digits"),
        ("[" + "[]," * 3_000_001 + "1]", "more than 3,000,000 lists and objects"),
    ],
    ids=["lists", "objects", "twice", "nan", "infinity", "digits", "many"],
)
def test_json_that_is_no_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_a_file_larger_than_it_may_be_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 1,048,576 bytes"):
        read_bytes(tmp_path / "large", 1 << 20)


@pytest.mark.parametrize("name", ["policy", "suite"])
@pytest.mark.parametrize(
    "line",
    [
        "x = " + "[" * 100_000,
        "x = " + "9" * 5000,
        "a." * 50_000 + "b = 1",
        "x = {" + "a = {" * 5000,
        "[a" + ".a" * 200_000 + "]",
    ],
    ids=["nesting", "digits", "keys", "tables", "table of many names"],
)
def test_toml_that_goes_on_and_on_is_refused(name: str, line: str, tmp_path: Path) -> None:
    reader = reader_named(name)
    (tmp_path / "seed.toml").write_text(line)
    with in_time(), pytest.raises(InputError):
        reader.read(tmp_path / "seed.toml")


def test_a_manifest_cannot_have_a_device_hashed(tmp_path: Path) -> None:
    from exporters.manifest import entries_beside

    entry = {"sha256": {"/dev/zero": "0"}, "format": "onnx"}
    content = {"manifest_version": 2, "source": {"sha256": "x"}, "files": [entry]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with in_time():
        assert entries_beside(tmp_path / "manifest.json", "x", (), force=False) == []


# Pictures.

_GHOSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\nshowpage\n"


@pytest.mark.parametrize("name", ["x.eps", "x.png", "x"])
def test_a_picture_that_is_a_program_is_no_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would hand it to Ghostscript, whatever the file is called."""
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch '{started}'\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / name
    path.write_bytes(_GHOSTSCRIPT)
    assert name == "x.png" or not is_picture(path)
    with pytest.raises(InputError, match="not an image that Pillow can read"):
        read_picture(path)
    assert not started.exists()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(10_000, MOST_PIXELS // 10_000 + 1), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_unfolds_is_refused(sides: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(*sides))
    with pytest.raises(InputError, match=r"is an image of more than|cannot be read as an image"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "content",
    [b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', b"GIF89a<script>", b"%PDF-1.4\n"],
)
def test_a_picture_that_is_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError):
        read_picture(tmp_path / "x.png")


def test_a_note_that_is_damaged_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    image.save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_picture(tmp_path / "x.jpg").size == (6, 4)


@pytest.mark.slow
def test_an_archive_of_examples_that_unfolds_is_refused(tmp_path: Path) -> None:
    from exporters.quantisation import calibration

    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as written,
        written.open("image.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(80):
            member.write(bytes(1 << 24))
    assert calibration._LARGEST_ARCHIVE < 80 << 24
    with pytest.raises(InputError, match=r"has 1\.2 GiB of arrays and at most 1 GiB is read"):
        reader_named("calibration").read(tmp_path / "x.npz")


# What is shown.

ORDERS = "\x1b]0;title\x07\x1b[2J\x9b1m\u202egnp.exe\u2066\r"


def acts(text: str) -> list[str]:
    """Characters on which a terminal acts."""
    return [each for each in text if not each.isprintable() and not each.isspace()]


def test_names_give_no_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from slide_deploy.terminal.console import stdout
    from slide_deploy.terminal.printable import echo

    grid = table(ORDERS.replace("[", "("), [("name", False)])
    grid.add_row(ORDERS.replace("[", "("))
    assert acts(as_text(grid, ORDERS)) == []
    stdout().print(grid)
    stdout().print(ORDERS, markup=False)
    echo(ORDERS)
    assert acts(capsys.readouterr().out) == []
    assert acts(str(InputError(ORDERS))) == []
    assert printable("é Δ\u00a0→ 漢\n") == "é Δ\u00a0→ 漢\n"


def test_a_refusal_is_one_sentence_whatever_it_quotes() -> None:
    assert str(InputError("a\nb\u2028c\r\n d")) == "a b c d"


@pytest.mark.parametrize("end", [".onnx", ".xml", ".tflite", ".pte"])
def test_a_pipe_in_place_of_a_model_is_named(end: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"x{end}")
    with in_time(), pytest.raises(InputError, match="is not a regular file"):
        check_file(tmp_path / f"x{end}")
