"""Two exports into one folder at once: real processes, one manifest that agrees with the files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.files.folders import working_folder
from slide_deploy.files.hashing import sha256
from slide_deploy.files.publishing import publication, refuse_occupied
from tests.support import GOLDEN

ROOT = Path(__file__).parents[2]
NANO = GOLDEN / "slide_swin_nano.pth"

# Each process waits until the other is about to publish, so both have seen an empty folder.
TOGETHER = """
import sys, time
from pathlib import Path
from exporters import pipeline
from slide_deploy.cli import main
here, meeting = sys.argv.pop(1), Path(sys.argv.pop(1))
publication = pipeline.publication
def late(out):
    (meeting / here).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.02)
    return publication(out)
pipeline.publication = late
main()
"""


def both(tmp_path: Path, *calls: tuple[object, ...]) -> list[tuple[int, str]]:
    """Run two exports that publish at the same time; return exit code and stderr of each."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(number), str(meeting), "export", *map(str, call)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number, call in enumerate(calls)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, err) for process, err in zip(processes, said, strict=True)]


def agrees(out: Path) -> list[str]:
    """Return the formats in the manifest; check that its files, and only these, exist and match."""
    manifest = json.loads((out / "manifest.json").read_text())
    files = {
        name: each
        for entry in manifest["files"]
        for name, each in (entry["sha256"] | entry["reference_outputs"]).items()
    }
    assert {name: sha256(out / name) for name in files} == files
    assert sorted(path.name for path in out.iterdir()) == sorted([*files, "manifest.json"])
    return sorted(entry["format"] for entry in manifest["files"])


@pytest.mark.full
def test_different_formats_are_all_in_the_manifest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    quiet = ("--out", out, "-q")
    found = both(tmp_path, (NANO, "--to", "onnx", *quiet), (NANO, "--to", "openvino", *quiet))
    assert found == [(0, ""), (0, "")]
    assert agrees(out) == ["onnx", "openvino"]


@pytest.mark.slow
def test_the_second_of_two_exports_of_one_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = (NANO, "--to", "onnx", "--out", out, "-q")
    codes = dict(both(tmp_path, call, (*call, "--dynamic-batch")))
    assert sorted(codes) == [0, 2]
    assert "slide_swin_nano.onnx exists: give --force" in codes[2]
    assert agrees(out) == ["onnx"]


@pytest.mark.full
def test_with_force_the_last_export_wins_and_its_manifest_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = (NANO, "--to", "onnx", "--out", out, "-q", "--force")
    assert both(tmp_path, call, (*call, "--dynamic-batch")) == [(0, ""), (0, "")]
    assert agrees(out) == ["onnx"]


@pytest.mark.full
def test_the_second_of_two_checkpoints_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = GOLDEN / "slide_swin_nano_ema.pth"
    quiet = ("--to", "onnx", "--out", out, "-q")
    codes = dict(both(tmp_path, (NANO, *quiet), (other, *quiet)))
    assert sorted(codes) == [0, 2]
    assert "belongs to another export" in codes[2]
    assert agrees(out) == ["onnx"]


def test_exports_publish_one_at_a_time_and_leave_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from slide_deploy.files.folders import working_folder\n"
        "from slide_deploy.files.publishing import publication\n"
        "with working_folder(Path(sys.argv[1])) as work, publication(work):\n"
        "    with open(sys.argv[2], 'a') as log: log.write('(')\n"
        "    time.sleep(0.05)\n"
        "    with open(sys.argv[2], 'a') as log: log.write(')')\n"
    )
    out, log = tmp_path / "out", tmp_path / "log"
    out.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(out), str(log)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(6)
    ]
    assert [process.wait(120) for process in processes] == [0] * 6
    assert log.read_text() == "()" * 6
    assert list(out.iterdir()) == []


def test_a_publication_that_fails_leaves_everything_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_text("old")
    (tmp_path / "p.mlpackage").mkdir()
    (tmp_path / "p.mlpackage" / "old").touch()
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if target.name == "a.bin" and self.name == "a.bin":
            assert (tmp_path / "b.bin").read_text() == "new"  # it comes before
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (  # noqa: PT012
        pytest.raises(InputError, match="Permission denied"),
        working_folder(tmp_path) as work,
        publication(work) as moves,
    ):
        for name in ("a.bin", "b.bin"):
            (work / name).write_text("new")
        moves.put("b.bin")  # comes first
        moves.clear("p.mlpackage")
        moves.put("a.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "p.mlpackage"]
    assert (tmp_path / "a.bin").read_text() == "old"
    assert (tmp_path / "p.mlpackage" / "old").exists()


def test_a_block_that_raises_moves_nothing(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        working_folder(tmp_path) as work,
        publication(work) as moves,
    ):
        (work / "a.bin").write_text("new")
        moves.put("a.bin")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_links_stay_and_point_to_the_published_files(tmp_path: Path) -> None:
    out, far = tmp_path / "out", tmp_path / "far"
    for folder in (out, far):
        folder.mkdir()
    (far / "package").mkdir()
    (far / "package" / "old").touch()
    (out / "package").symlink_to(far / "package")
    (out / "file").symlink_to(far / "dangling")
    with working_folder(out) as work, publication(work) as moves:
        (work / "package").mkdir()
        (work / "file").write_text("new")
        for name in ("package", "file"):
            moves.put(name)
    assert (out / "package").is_symlink() and (out / "file").is_symlink()
    assert list((far / "package").iterdir()) == []
    assert (far / "dangling").read_text() == "new"
    assert sorted(path.name for path in far.iterdir()) == ["dangling", "package"]
    assert sorted(path.name for path in out.iterdir()) == ["file", "package"]


def test_a_path_that_is_not_a_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "null.onnx").symlink_to("/dev/null")
    for name, kind in (("pipe.onnx", "a pipe"), ("null.onnx", "a device")):
        with pytest.raises(InputError, match=f"{name} is {kind}, which is not replaced"):
            refuse_occupied([tmp_path / name], force=True)


@pytest.mark.slow
def test_tuning_tables_and_noise_of_two_processes_are_both_kept(tmp_path: Path) -> None:
    code = (
        "import sys; from benchmarks.calibration import store_noise\n"
        "for number in range(20): store_noise(f'{sys.argv[1]}:{number}', 1.01)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, name], env=environment) for name in "ab"
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    (noises,) = json.loads((tmp_path / "slide-deploy" / "noise.json").read_text()).values()
    assert len(noises) == 40
