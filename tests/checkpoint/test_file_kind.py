"""A file that is no checkpoint is refused by what it is."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from slide_deploy.errors import InputError
from tests.support import read_checkpoint


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


BYTES = {
    "gzip": (gzip.compress(b"weights" * 99), "compressed with gzip"),
    "bzip2": (bz2.compress(b"weights" * 99), "compressed with bzip2"),
    "xz": (lzma.compress(b"weights" * 99), "compressed with xz"),
    "tar": (tar(), "tar archive"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "page": (b"\n<!DOCTYPE html><html>Not found</html>", "web page"),
    "page with a mark": (b"\xef\xbb\xbf<html>Not found</html>", "web page"),
    "error of a bucket": (b'<?xml version="1.0"?><Error/>', "XML document"),
    "json": (b'{"error": "gone"}', "JSON text"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "gguf": (b"GGUF" + bytes(99), "GGUF"),
    "numpy": (numpy_archive(), "numpy archive"),
    "zip": (archive(**{"weights.pth": b"x"}), "zip archive with weights.pth"),
    "text": (b"hello " * 99, "is a text"),
    "missing page": (b"404: Not Found", "is a text .*404: Not Found"),
    "yaml": (b"MODEL:\n  TYPE: slide_swin\n", "not a PyTorch checkpoint"),
    "array": (array(), "numpy array"),
    "zeros": (bytes(999), "zeros only"),
}


@pytest.mark.parametrize("name", BYTES)
def test_it_is_named(name: str, tmp_path: Path) -> None:
    content, words = BYTES[name]
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_checkpoint(tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_programs_are_named(tmp_path: Path) -> None:
    linear = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.trace(linear, torch.zeros(1, 2)), str(tmp_path / "script.pt"))
    with pytest.raises(InputError, match="TorchScript"):
        read_checkpoint(tmp_path / "script.pt")
    torch.export.save(torch.export.export(linear, (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    with pytest.raises(InputError, match="exported program"):
        read_checkpoint(tmp_path / "program.pt2")


def test_a_whole_module_is_named_and_not_built(tmp_path: Path) -> None:
    for content in (torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2)}):
        torch.save(content, tmp_path / "module.pth")
        with pytest.raises(
            InputError, match=r"pickled module \(torch\.nn\.modules\.linear\.Linear"
        ):
            read_checkpoint(tmp_path / "module.pth")


def test_safetensors_under_another_name_is_read_by_its_bytes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.bin")
    with pytest.raises(InputError, match=r"is not a Slide-Swin, .*: it has weight"):
        read_checkpoint(tmp_path / "weights.bin")
