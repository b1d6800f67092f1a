"""Where results go: files as a whole, links kept, everything else in place, nothing lost."""

import os
import re
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of, is_stdout, require_writable, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_atomically_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o600)
    inode = path.stat().st_ino
    require_writable(path)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_ino != inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize("there", [True, False], ids=["its target exists", "it dangles"])
def test_a_symbolic_link_remains_and_its_target_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target, link, outer = tmp_path / "far" / "t.json", tmp_path / "link", tmp_path / "outer"
    if there:
        target.write_text("old")
    link.symlink_to("far/t.json")
    outer.symlink_to(link)
    require_writable(outer)
    write_text(outer, "new")
    assert outer.is_symlink() and link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path / "far") == ["t.json"]


def test_a_pipe_is_written_in_place_and_not_opened_by_the_check(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    require_writable(pipe)  # a reader that waits would see an end here
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through " * 20_000)
    reader.join(10)
    assert read == ["through " * 20_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for path in (Path("/dev/null"), link):
        require_writable(path)
        write_text(path, "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert link.is_symlink()


def test_a_descriptor_is_written_at_its_position(tmp_path: Path) -> None:
    """As ``3>>log`` and ``>(…)`` give it: nothing before it is lost."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        stream.write("before\n")
        stream.flush()
        link = tmp_path / "link"
        link.symlink_to(f"/dev/fd/{stream.fileno()}")
        for path in (Path(f"/dev/fd/{stream.fileno()}"), link):
            require_writable(path)
            write_text(path, "text\n")
    assert log.read_text() == "before\ntext\ntext\n"


def test_a_read_only_descriptor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    with (tmp_path / "in").open() as stream, pytest.raises(InputError, match="for reading only"):
        require_writable(Path(f"/dev/fd/{stream.fileno()}"))
    with pytest.raises(InputError, match="cannot be written"):
        require_writable(Path("/dev/fd/987"))


def test_every_name_of_standard_output_writes_to_it(capsys, tmp_path: Path) -> None:
    link = tmp_path / "out"
    link.symlink_to("/dev/stdout")
    assert all(map(is_stdout, (Path("-"), Path("/dev/stdout"), Path("/dev/fd/1"), link)))
    assert not is_stdout(tmp_path / "-")
    print("first", end=" ")
    write_text(Path("-"), "then")
    assert capsys.readouterr().out == "first then"


def test_a_file_that_is_a_mount_point_is_written_in_place(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "mounted.json"
    path.write_text("a longer text than the new one")
    inode = path.stat().st_ino

    def busy(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    write_text(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", inode)
    assert names(tmp_path) == ["mounted.json"]


def unusable(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to(tmp_path / "no" / "target")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.close()
    return {
        "it is a folder": tmp_path,
        "its folder is missing": tmp_path / "no" / "report.json",
        "it is a socket": tmp_path / "socket",
        "Not a directory": tmp_path / "file" / "report.json",
        "symbolic links": tmp_path / "loop",
        "File name too long": tmp_path / ("x" * 300),
        "No such file": Path("/proc/report.json"),
    }


def test_unwritable_paths_are_refused_before_work(tmp_path: Path) -> None:
    for reason, path in unusable(tmp_path).items():
        before = names(tmp_path)
        with pytest.raises(InputError, match=reason):
            require_writable(path)
        assert names(tmp_path) == before
    with pytest.raises(InputError, match="its folder is missing"):
        require_writable(tmp_path / "lost")


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch) -> None:
    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\): give a file"):
        require_writable(tmp_path / "report.json")
    # A file there that may be written is written in place.
    path = tmp_path / "there.json"
    path.write_text("old and long")
    require_writable(path)
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_write_protected_file_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "report.json"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InputError, match="write-protected"):
        require_writable(path)


def test_closed_standard_output_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="closed"):
        require_writable(Path("-"))


def kept_in(error: pytest.ExceptionInfo[InputError]) -> Path:
    match = re.search(r"the content is kept in (\S+)\.$", str(error.value))
    assert match, error.value
    return Path(match[1])


def test_content_that_cannot_be_written_is_kept_elsewhere(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(InputError, match="No space left on device") as full:
        write_text(Path("/dev/full"), "measured for hours")
    assert kept_in(full).read_text() == "measured for hours"
    with pytest.raises(InputError, match="No such file") as gone:
        write_text(tmp_path / "gone" / "run.json", "measured for hours")
    assert kept_in(gone).read_text() == "measured for hours"
    assert kept_in(gone).name == "run.json"
    assert names(tmp_path) == ["temporary"]


def test_a_block_that_raises_keeps_the_file_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), draft_of(path) as draft:  # noqa: PT012
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


def test_nothing_is_left_behind_if_every_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> None:
        with self.open("wb") as stream:
            stream.write(content[:2])
        raise OSError(28, "No space left on device")

    for folder in ("out", "temporary", "home", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        InputError, match=r"No space left on device.*free some disk space and try again"
    ):
        write_text(tmp_path / "out" / "report.json", "content")
    assert [path for path in tmp_path.rglob("*") if path.parent != tmp_path] == []
