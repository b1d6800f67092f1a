"""The pickle reader returns what PyTorch does, and never runs code from a file."""

import contextlib
import io
import json
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.checkpoint.known_objects import BUILDERS, NumpyArray
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.torch_file import read_torch
from slide_deploy.checkpoint.unpickle import MalformedPickle, mapping_of, unpickle
from slide_deploy.errors import InputError
from tests.support import GOLDEN, read_checkpoint


def assert_same(found: Any, expected: Any) -> None:
    """Compare a structure with the saved one; objects without a reader are skipped."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, StoredTensor)
        tensor = found.read("tensor")
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)
    elif isinstance(expected, np.ndarray):
        assert isinstance(found, NumpyArray)
        assert np.array_equal(found.tensor().read("array").numpy(), expected)
    elif isinstance(expected, dict):
        entries = mapping_of(found)
        assert entries is not None
        assert list(entries) == list(expected)
        for key, value in expected.items():
            assert_same(entries[key], value)
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple)
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert_same(mine, theirs)
    else:
        assert found == expected


KINDS: dict[str, Any] = {
    "transposed": torch.randn(3, 4).t(),
    "a view": torch.arange(30).reshape(5, 6)[1:4, ::2],
    "half": torch.randn(3).half(),
    "bfloat16": torch.randn(3).bfloat16(),
    "double": torch.randn(3, 1).double(),
    "switches": torch.tensor([True, False]),
    "empty": torch.empty(0, 3),
    "a number": torch.tensor(3.0),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "unsigned": torch.arange(4).to(torch.uint16),
    "complex": torch.randn(2, dtype=torch.complex64),
    "plain": {"a": [1, 2.5, None, True, "text", b"bytes", (1, (2, 3))], 7: {"b": {}}},
    "float32 array": np.random.default_rng(0).normal(size=(3, 5)).astype("f4"),
    "column-major array": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian array": np.arange(3, dtype=">i4"),
    "empty array": np.zeros((0, 2)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before 1.6"])
def test_files_of_torch_save_are_read(protocol: int, archive: bool, tmp_path: Path) -> None:
    torch.save(
        KINDS,
        tmp_path / "kinds.pth",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    assert_same(read_torch(tmp_path / "kinds.pth"), KINDS)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_arrays_are_read(protocol: int, tmp_path: Path) -> None:
    content = {name: value for name, value in KINDS.items() if "array" in name or name == "plain"}
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert_same(read_torch(tmp_path / "arrays.pkl"), content)


def test_shared_storages_and_attributes_of_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    marked = torch.nn.Parameter(torch.randn(3))
    marked.note = "mine"
    content = {"one": base[:4], "other": base[2:].reshape(5, 2), "marked": marked}
    torch.save(content, tmp_path / "views.pth")
    assert_same(read_torch(tmp_path / "views.pth"), content)


def test_archives_without_checksums_are_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(4.0)}, tmp_path / "fast.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert_same(read_torch(tmp_path / "fast.pth"), {"a": torch.arange(4.0)})


@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_named(tmp_path: Path) -> None:
    content = {
        "quantised": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(3, device="meta"),
    }
    torch.save(content, tmp_path / "odd.pth")
    for name, tensor in read_torch(tmp_path / "odd.pth").items():
        with pytest.raises(InputError, match=f"is a {name} tensor"):
            tensor.read("it")


# The command stands in each program; running it would make a file.
COMMAND = "touch FLAG"
_QUOTED = f"S'{COMMAND}'\n".encode()
_SHORT = b"\x8c" + bytes([len(COMMAND)]) + COMMAND.encode()

BOMBS: dict[str, bytes] = {
    "reduce": b"cos\nsystem\n(" + _QUOTED + b"tR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + _SHORT + b"tR.",
    "instance": b"(" + _QUOTED + b"ios\nsystem\n.",
    "object": b"(cos\nsystem\n" + _QUOTED + b"o.",
    "new object": b"\x80\x02cos\nsystem\n(" + _QUOTED + b"t\x81.",
    "new object with keywords": b"\x80\x04cos\nsystem\n(" + _QUOTED + b"t}\x92.",
    "extension": b"\x80\x02\x82\x01(" + _QUOTED + b"tR.",
    "build on a class": b"cos\nenviron\n}(S'PATH'\nS'evil'\nsb.",
    "build on a builder": b"ctorch._utils\n_rebuild_tensor_v2\n}S'__code__'\nI1\nsb.",
    "persistent text": b"P" + COMMAND.encode() + b"\n.",
    "persistent tuple": b"(S'storage'\ncos\nsystem\nS'0'\nS'cpu'\nI4\ntQ.",
    "a call of a call": b"cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR(" + _QUOTED + b"tR.",
    "eval": b'cbuiltins\neval\n(S\'__import__("os").system("touch FLAG")\'\ntR.',
    "through a tensor's type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nI0\n("
    + _QUOTED
    + b"t}tR.",
    "through a parameter": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\nI0\n}tR.",
    "through a default dict": b"ccollections\ndefaultdict\n(cos\nsystem\ntR(S'a'\nI1\ns.",
    "a huge memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "a missing memo": b"\x80\x02h\x07.",
    "a huge length": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "an empty stack": b"\x80\x02R.",
    "doubling lists": b"\x80\x02]q\x00"
    + b"".join(
        b"]q" + bytes([i + 1]) + b"(" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e"
        for i in range(60)
    )
    + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "deep lists": b"\x80\x02" + b"](" * 20_000 + b"e" * 20_000 + b".",
    "a deep key": b"\x80\x02}" + b")" + b"\x85" * 20_000 + b"I1\ns.",
    "a huge number": b"L" + b"9" * 5000 + b"L\n.",
}


def _torch_archive(path: Path, program: bytes) -> None:
    """A file as ``torch.save`` writes it, with another program for its structure."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", b"\0" * 16)
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_skipped(name: str, tmp_path: Path) -> None:
    (tmp_path / "bomb.pkl").write_bytes(BOMBS[name])
    _torch_archive(tmp_path / "bomb.pth", BOMBS[name])
    for file in ("bomb.pkl", "bomb.pth"):
        with pytest.raises(InputError):
            read_checkpoint(tmp_path / file)


def test_bombs_import_nothing_and_call_no_system(tmp_path: Path) -> None:
    """Every event that Python audits while the bombs are read is one of reading a file."""
    for number, program in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.pkl").write_bytes(program)
        _torch_archive(tmp_path / f"{number}.pth", program)
    watcher = textwrap.dedent(
        """
        import encodings.cp437, json, sys  # zipfile reads old names with the former
        from pathlib import Path
        from slide_deploy.errors import InputError
        from slide_deploy.hosts.find import find_network as read_checkpoint

        def read(path):
            try:
                read_checkpoint(path)
            except InputError:
                pass

        read_checkpoint(Path(sys.argv[2]))  # all that a good file needs is imported now
        seen = []
        sys.addaudithook(lambda event, args: seen.append((event, str(args)[:80])))
        for path in sorted(Path(sys.argv[1]).iterdir()):
            read(path)
        harmless = ("open", "mmap.__new__", "builtins.id", "os.listdir", "os.scandir", "glob.glob")
        print(json.dumps([event for event in seen if event[0] not in harmless]))
        print(json.dumps([e for e in seen if e[0] == "open" and sys.argv[1] not in e[1]]))
        """
    )
    golden = GOLDEN / "slide_swin_nano.pth"
    result = subprocess.run(
        [sys.executable, "-c", watcher, str(tmp_path), str(golden)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    events, opened = map(json.loads, result.stdout.splitlines())
    assert events == []
    assert opened == []
    assert not list(tmp_path.glob("FLAG*"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pickles_never_crash(data: st.DataObject) -> None:
    whole = bytearray(
        pickle.dumps({"a": [1, (2, {"b": np.arange(3)})], "c": Path("x")}, protocol=4)
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedPickle):
        unpickle(io.BytesIO(bytes(whole)), BUILDERS)
