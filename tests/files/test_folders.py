"""Output folders that other processes use at the same time."""

import errno
import os
from pathlib import Path

import pytest

from slide_deploy.files.folders import working_folder


def test_a_folder_that_another_process_makes_and_removes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, refused = tmp_path / "out", os.mkdir, []

    def mkdir(path: Path, mode: int = 0o777) -> None:
        """The first time, another process made the folder, and removes it at once."""
        if Path(path) == out and not refused:
            refused.append(path)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with working_folder(out) as work:
        assert work.parent == out and work.is_dir()
    assert refused and not out.exists()
