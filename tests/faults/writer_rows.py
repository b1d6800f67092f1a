"""Everything but an export that writes a file: each result is the old one or a whole new one."""

import json
import shutil
import signal
import zipfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from slide_deploy.backends.web import assets
from slide_deploy.tuning.store import TABLE_VERSION
from tests.faults import injections
from tests.faults.judging import Tally, Tree, tree
from tests.faults.row import Row, export, model
from tests.faults.running import run

_SCRIPTED = "tests.benchmarks.scripted:scripted"
_BENCH = ("bench", "a.json", "--target", _SCRIPTED, "--rounds", 6, "--seconds", 0.1, "-q")
_OLD = "an older result"

# Command: its arguments, and the files in the folder ``out`` that it writes.
WRITERS: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
    "fold": (
        ("fold", "small.pth", "-q", "--force", "-o", "out/f.safetensors", "--json", "out/f.json"),
        ("f.safetensors", "f.json"),
    ),
    "check": (
        ("check", "net/small.onnx", "--json", "out/c.json", "--sarif", "out/c.sarif"),
        ("c.json", "c.sarif"),
    ),
    "evaluate": (
        ("evaluate", "net/small.onnx", "--data", "data", "-q", "--json", "out/e.json"),
        ("e.json",),
    ),
    "bench": (
        (*_BENCH, "--json", "out/r.json", "--html", "out/r.html", "--markdown", "out/r.md"),
        ("r.json", "r.html", "r.md"),
    ),
    "bench --json": ((*_BENCH, "--json", "out/r.json"), ("r.json",)),
    "bench --bundle": ((*_BENCH, "--bundle", "out/b.zip"), ("b.zip",)),
    "tune": (
        ("tune", "--attention", "8x8x8:d8", "--strips", 1, "--form", "flat", "--form", "depthwise",
         "--target", "onnxruntime:cpu", "-q", "--out", "out/t.json"),
        ("t.json",),
    ),
}  # fmt: skip


def _prepare(here: Path, command: str) -> None:
    """What the commands read, and an older result in the place of each that they write."""
    (here / "out").mkdir()
    for name in WRITERS[command][1]:
        # A table is read before it is added to.
        empty = json.dumps({"version": TABLE_VERSION, "entries": []}) + "\n"
        (here / "out" / name).write_text(empty if command == "tune" else _OLD)
    (here / "a.json").write_text(json.dumps({"script": "steady", "milliseconds": 1.0}))
    if command == "fold":
        shutil.copy(model(), here / "small.pth")
    if command in ("check", "evaluate"):
        done = run(export("onnx", "net"), here)
        assert done.code == 0, done.said
        draw = np.random.default_rng(0)
        for label in ("n0", "n1", "n2", "n3"):
            (here / "data" / label).mkdir(parents=True)
            for number in range(2):
                picture = draw.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(picture).save(here / "data" / label / f"{number}.png")


def _is_whole(path: Path) -> bool:
    """Whether a result was written to its end."""
    if path.read_bytes() == _OLD.encode():
        return True
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy") as opened:
                return bool(opened.keys())
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".json", ".sarif"):
            json.loads(text)
        return text.rstrip().endswith("</html>") if path.suffix == ".html" else text[-1:] == "\n"
    except Exception:
        return False


def _look(tally: Tally, command: str, out: Path, occasion: str) -> None:
    """Count the results that are neither old nor whole."""
    found = tree(out)
    names = WRITERS[command][1]
    expected = {
        name: found.get(name, "missing") if _is_whole(out / name) else "damaged" for name in names
    }
    tally.look(out, expected, occasion=occasion)


def ended(number: signal.Signals, command: str, tally: Tally, here: Path) -> None:
    """Before each change in the folder that the results go to."""
    _prepare(here, command)
    states = here / "states"
    fault = injections.at_each_change(here / "out", states, number, ".slide-deploy")
    # The library of locks refuses to work in a process that was forked meanwhile.
    unlocked = injections.replaced("slide_deploy.files.folders", "FileLock", lambda _: nullcontext)
    done = run(WRITERS[command][0], here, fault, *([unlocked] if command == "tune" else []))
    steps = sorted(states.glob("*.code"), key=lambda path: int(path.stem))
    tally.expect(len(steps) > 3, f"only {len(steps)} changes were seen: {done.said}")
    for path in steps:
        state = path.with_suffix("")
        if number == signal.SIGKILL:  # the next command that writes there
            run(("models", "--json", state / "m.json"), here)
            (state / "m.json").unlink()
        else:
            tally.expect(int(path.read_text()) in (0, 128 + number), path.read_text())
        _look(tally, command, state, f"change {path.stem}")


def full(command: str, tally: Tally, here: Path) -> None:
    """The disk that the results go to is full; they are kept elsewhere, or said to be lost."""
    _prepare(here, command)
    for free in (0, 4096):
        with injections.small_disk(here / "out", free):
            done = run(WRITERS[command][0], here)
            tally.said(done.sentence)
            small = done.code == 0 and free  # it fits
            tally.expect(
                bool(small) or (done.code == 2 and "No space left on device" in done.said),
                f"{free}: {done.code} {done.said}",
            )
            _look(tally, command, here / "out", f"{free} bytes free")
        shutil.rmtree(here / "kept", ignore_errors=True)
        shutil.rmtree(here / "tmp", ignore_errors=True)


def _page(folder: object) -> tuple[object, ...]:
    """The arguments that write a page for browsers."""
    return ("bench", "net/small.onnx", "--web-bundle", folder, "-q")


def _whole_page(here: Path) -> Tree:
    """What a page holds; the network that it measures stays in ``here/net``."""
    done = run(export("onnx", "net"), here)
    assert done.code == 0, done.said
    done = run(_page("apart"), here)
    assert done.code == 0, done.said
    (here / "out").mkdir()
    return tree(here / "apart")


def page_ended(number: signal.Signals, tally: Tally, here: Path) -> None:
    """Before each change in the folder of a page for browsers, while its files are moved."""
    whole, states = _whole_page(here), here / "states"
    run(_page("out/site"), here, injections.at_each_change(here / "out", states, number, "planned"))
    steps = sorted(states.glob("*.code"), key=lambda path: int(path.stem))
    tally.expect(len(steps) > 10, f"only {len(steps)} changes were seen")
    for path in steps:
        code, site = int(path.read_text()), path.with_suffix("") / "site"
        if number == signal.SIGKILL:  # the next run finishes the page, or writes it
            done = run(_page(site), here)
            tally.expect(done.code == 0 or "already exists: give" in done.sentence, done.said)
        else:
            tally.expect(code in (0, 128 + number), f"exit code {code}")
        # Ctrl-C waits until the files are moved.
        allowed = (whole,) if number == signal.SIGKILL or not code else ({}, whole)
        tally.look(site, *allowed, occasion=f"change {path.stem}")


def page_full(tally: Tally, here: Path) -> None:
    """The disk that a page for browsers goes to is full."""
    _whole_page(here)
    (here / "out" / "other").write_text(_OLD)
    others = tree(here / "out")
    for free in (0, 4096, 1 << 20):
        with injections.small_disk(here / "out", free):
            done = run(_page("out/site"), here)
            tally.said(done.sentence)
            tally.expect(
                done.code == 2 and "No space left on device" in done.sentence,
                f"{free}: {done.code} {done.said}",
            )
            tally.look(here / "out", others, occasion=f"{free} bytes free")
        shutil.rmtree(here / "kept", ignore_errors=True)


def rows() -> tuple[Row, ...]:
    """Each command that writes, under each fault."""
    found = []
    for command in WRITERS:
        for number, word in ((signal.SIGKILL, "SIGKILL"), (signal.SIGINT, "Ctrl-C")):
            cost = "slow" if word == "SIGKILL" and command in ("fold", "bench") else "full"
            inject = partial(ended, number, command)
            found.append(Row(f"{word} before each change", command, inject, cost))
        cost = "slow" if command in ("fold", "evaluate", "bench") else "full"
        found.append(Row("a full disk", command, partial(full, command), cost, needs_mounts=True))
    if assets.find() is not None:
        command = "bench --web-bundle"
        for number, word in ((signal.SIGKILL, "SIGKILL"), (signal.SIGINT, "Ctrl-C")):
            inject = partial(page_ended, number)
            found.append(Row(f"{word} before each change", command, inject, "full"))
        found.append(Row("a full disk", command, page_full, "full", needs_mounts=True))
    return tuple(found)
