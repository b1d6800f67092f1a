"""An export is ended, or its machine fails it."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

from tests.faults import injections
from tests.faults.judging import Tally, tree
from tests.faults.row import NEW, Row, export, formats, model, moments, next_run, old_and_new
from tests.faults.running import Fault, Running, run

SIGNALS = {signal.SIGKILL: "SIGKILL", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def ended_at_each_change(
    number: signal.Signals, format: str, tally: Tally, here: Path, *faults: Fault
) -> None:
    """Before each change in the output folder while new files take the places of old ones."""
    old, new, _ = old_and_new(here, format, *faults)
    states = here / "states"
    fault = injections.at_each_change(here / "out", states, number, "planned")
    run(export(format, "out", *NEW, "--force"), here, fault)
    steps = sorted(states.glob("*.code"), key=lambda path: int(path.stem))
    tally.expect(len(steps) > 10, f"only {len(steps)} changes were seen")
    for path in steps:
        _judge_state(tally, here, path, number, format, (old, new))


def ended_where_a_file_goes(tally: Tally, here: Path) -> None:
    """The old weights have a file of their own, which the new ones do not need."""
    module = "slide_deploy.backends.onnxruntime.large_models"
    small = injections.replaced(module, "LARGEST", lambda _: 1000)
    ended_at_each_change(signal.SIGKILL, "onnx", tally, here, small)
    tally.expect(any("onnx.data" in each.name for each in (here / "states/0").iterdir()), "one")


def _judge_state(
    tally: Tally, here: Path, path: Path, number: signal.Signals, format: str, allowed: tuple
) -> None:
    code, state = int(path.read_text()), path.with_suffix("")
    whole = code in (0, 1)
    expected = -number if number == signal.SIGKILL else 128 + number
    tally.expect(whole or code == expected, f"exit code {code}")
    if number == signal.SIGKILL and not whole:
        done = next_run(here, state, format)
        tally.expect("exists: give --force to replace it" in done.sentence, done.said)
    tally.look(state, *(allowed[1:] if whole else allowed), occasion=f"change {path.stem}")


def outlived(tally: Tally, here: Path) -> None:
    """A library has forked a process, which lives on when the export is killed."""
    old, new, _ = old_and_new(here, "onnx")
    child = here / "child"

    def forking(real: Callable[..., object]) -> Callable[..., object]:
        def fork(*arguments: object, **options: object) -> None:
            number = os.fork()
            if not number:
                time.sleep(600)
                os._exit(0)
            child.write_text(str(number))
            os.kill(os.getpid(), signal.SIGKILL)

        return fork

    # While files are proved and while they are published.
    for module, name, kept in (
        ("exporters.jobs", "verify_session", old),
        ("slide_deploy.files.moves", "_complete", new),
    ):
        fault = injections.replaced(module, name, forking)
        done = run(export("onnx", "out", *NEW, "--force"), here, fault)
        try:
            tally.expect(done.code == -signal.SIGKILL, done.said)
            tally.expect(next_run(here).code == 2, "the next run was not refused")
            tally.look(here / "out", kept, occasion=name)
        finally:
            os.kill(int(child.read_text()), signal.SIGKILL)


def ended_at_random(
    number: signal.Signals, format: str, times: int, tally: Tally, here: Path
) -> None:
    """At random moments of an export over an old one."""
    old, new, unharmed = old_and_new(here, format)
    for moment in moments(times, unharmed.seconds):
        done = run(export(format, "out", *NEW, "--force"), here, after=(moment, number))
        if number == signal.SIGKILL:
            tally.expect(done.code in (-number, 0), done.said)
            next_run(here, format=format)
        else:
            tally.expect(done.code in (128 + number, 0), f"{moment}: {done.code} {done.said}")
            tally.said(done.sentence)
        tally.look(here / "out", old, new, occasion=f"after {moment:.3f} s")
        tally.look_for_temporaries(here / "tmp")


def full_disk(format: str, sizes: tuple[int, ...], tally: Tally, here: Path) -> None:
    """A file system that is really full, sooner or later."""
    old, new, _ = old_and_new(here, format)
    for free in sizes:
        with injections.small_disk(here / "out", free):
            done = run(export(format, "out", *NEW, "--force"), here)
            tally.said(done.sentence)
            tally.expect(done.code == 2 and "Traceback" not in done.said, f"{free}: {done.said}")
            tally.look(here / "out", old, occasion=f"{free} bytes free")
        _restore(here)
    with injections.small_disk(here / "out", 16 << 20):
        done = run(export(format, "out", *NEW, "--force"), here)
        tally.expect(done.code == 0, done.said)
        tally.look(here / "out", new, occasion="room enough")


def _restore(here: Path) -> None:
    """What the small disk held went with it; the folder under it is as it was."""
    shutil.rmtree(here / "kept", ignore_errors=True)


def limited_files(format: str, tally: Tally, here: Path) -> None:
    """No file may grow beyond some bytes, as a quota has it."""
    old, new, _ = old_and_new(here, format)
    for most in (1000, 20_000, 60_000):
        done = run(export(format, "out", *NEW, "--force"), here, partial(_limit_quietly, most))
        tally.said(done.sentence)
        tally.expect(done.code == 2 and "Traceback" not in done.said, f"{most}: {done.said}")
        tally.look(here / "out", old, new, occasion=f"{most} bytes a file")


def _limit_quietly(most: int) -> None:
    """What the command prints goes into a pipe, which has no size."""
    injections.file_size(most)()


def no_permission(tally: Tally, here: Path) -> None:
    """The folder, or the one that it would be made in, may not be written to."""
    old, _, _ = old_and_new(here, "onnx")
    (here / "out").chmod(0o555)
    (here / "shut").mkdir(mode=0o555)
    for out, allowed in (("out", old), ("shut/new", {})):
        done = run(export("onnx", out, *NEW, "--force"), here, injections.ordinary_user)
        tally.said(done.sentence)
        tally.expect(done.code == 2 and "Permission denied): check --out" in done.said, done.said)
        tally.look(here / out, allowed, occasion=out)
    (here / "out").chmod(0o755)


def read_only_folder(tally: Tally, here: Path) -> None:
    """The folder is on a file system that is mounted for reading only."""
    old, _, _ = old_and_new(here, "onnx")
    with injections.read_only(here / "out"):
        done = run(export("onnx", "out", *NEW, "--force"), here)
        tally.said(done.sentence)
        tally.expect(done.code == 2 and "Read-only file system): check" in done.said, done.said)
        tally.look(here / "out", old)


def home(kind: str, tally: Tally, here: Path) -> None:
    """The home folder is missing, or may not be written to: exports need none."""
    old_home = here / "home"
    old_home.mkdir(mode=0o555)
    lacking = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"))
    environment = {
        "read-only": {**lacking, "HOME": str(old_home)},
        "none": lacking,
        "missing": {**lacking, "HOME": "/nonexistent/home"},
    }[kind]
    done = run(export("onnx", "apart"), here)
    new = tree(here / "apart")
    for format in ("onnx",):
        done = run(export(format), here, injections.ordinary_user, environment=environment)
        tally.expect(done.code == 0, done.said)
        tally.look(here / "out", new)
    tally.expect(tree(old_home) == {}, "something was written into the home")


def without_memory(tally: Tally, here: Path) -> None:
    """The system refuses more memory, sooner or later."""
    old, new, _ = old_and_new(here, "onnx")
    for more in (1 << 20, 20 << 20, 60 << 20, 120 << 20):
        done = run(export("onnx", "out", *NEW, "--force"), here, injections.memory(more))
        tally.said(done.sentence)
        tally.expect(done.code != 0, "there was memory enough")
        # What is written in C++ may end the process; what says something says it in a sentence.
        tally.expect(done.code < 0 or "Traceback" not in done.said, f"{more}: {done.said}")
        next_run(here)
        tally.look(here / "out", old, new, occasion=f"{more} bytes more")


def runtime_without_memory(tally: Tally, here: Path) -> None:
    """A runtime says so, each in its way; a stand-in raises what it raises."""
    old, _, _ = old_and_new(here, "onnx")

    def failing(error: BaseException):
        def fail(*arguments: object, **options: object) -> None:
            raise error

        return lambda real: fail

    errors = (
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate"),
    )
    places = (
        ("exporters.onnx_exporter", "write"),
        ("exporters.jobs", "open_to_prove"),
        ("exporters.jobs", "verify_session"),
    )
    for module, name in places:
        for error in errors[::2] if name == "verify_session" else errors[1:]:
            fault = injections.replaced(module, name, failing(error))
            done = run(export("onnx", "out", *NEW, "--force"), here, fault)
            tally.said(done.sentence)
            tally.expect(
                done.code == 2 and "memory" in done.sentence and "Traceback" not in done.said,
                f"{name}, {error!r}: {done.said}",
            )
            tally.look(here / "out", old, occasion=f"{name}: {error!r}")


def clock_jumps(tally: Tally, here: Path) -> None:
    """The clock goes backwards, stands in 1970 or in 2106."""
    _, new, _ = old_and_new(here, "onnx")

    def backwards() -> Iterator[float]:
        now = 2e9
        while True:
            now -= 3600
            yield now

    for seconds in (backwards(), cycle([0.0]), cycle([4.3e9])):
        done = run(export("onnx", "out", *NEW, "--force"), here, injections.clock(seconds))
        tally.expect(done.code == 0, done.said)
        tally.look(here / "out", new)


def two_at_once(same: bool, tally: Tally, here: Path) -> None:
    """Two exports begin with an empty folder and publish together."""
    second = here / "second.pth"
    shutil.copy(model(), second)
    first_call = export("onnx", "out")
    other = first_call if same else ("export", second, *first_call[2:])
    for _ in range(3):
        meeting = here / "meeting"
        meeting.mkdir()
        runs = [
            Running(call, here, partial(_meet, meeting, str(index)))
            for index, call in enumerate((first_call, other))
        ]
        ends = [each.end() for each in runs]
        codes = sorted(each.code for each in ends)
        tally.expect(codes == ([0, 2] if same else [0, 0]), str([each.said for each in ends]))
        for each in ends:
            tally.said(each.sentence)
        stems = {model().stem} if same else {model().stem, "second"}
        names = {"manifest.json"} | {
            f"{stem}.onnx{end}" for stem in stems for end in ("", ".reference.safetensors")
        }
        found = tree(here / "out")
        tally.look(here / "out", {name: found.get(name, "missing") for name in names})
        shutil.rmtree(here / "out")
        shutil.rmtree(meeting)


def _meet(meeting: Path, name: str) -> None:
    from exporters import pipeline

    publication = pipeline.publication

    def late(work: Path):
        (meeting / name).touch()
        until = time.monotonic() + 300
        while len(os.listdir(meeting)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        return publication(work)

    pipeline.publication = late


def rows() -> tuple[Row, ...]:
    """The rows of an export."""
    installed = formats()
    found = [
        Row(
            f"{SIGNALS[number]} before each change",
            f"export {format}",
            partial(ended_at_each_change, number, format),
            "slow" if format == "onnx" and number == signal.SIGKILL else "full",
        )
        for number, several in (
            (signal.SIGKILL, installed),
            (signal.SIGINT, ("onnx",)),
            (signal.SIGTERM, ("onnx",)),
        )
        for format in several
    ]
    found.append(
        Row(
            "SIGKILL before each change",
            "export onnx over two files",
            ended_where_a_file_goes,
            "slow",
        )
    )
    for format in installed:
        for number, times in ((signal.SIGKILL, 100), (signal.SIGINT, 25), (signal.SIGTERM, 25)):
            found += [
                Row(
                    f"{SIGNALS[number]} at {many} random moments",
                    f"export {format}",
                    partial(ended_at_random, number, format, many),
                    cost,
                )
                for many, cost in (
                    (4, "slow" if number == signal.SIGKILL and format == "onnx" else "full"),
                    (times, "hour"),
                )
            ]
    sizes = (0, 4096, 16_384, 40_960)
    found += [
        Row(
            f"{len(sizes)} full disks",
            f"export {each}",
            partial(full_disk, each, sizes),
            "slow" if each == "onnx" else "full",
            needs_mounts=True,
        )
        for each in installed
    ]
    found += [
        Row(
            "files may not grow",
            f"export {each}",
            partial(limited_files, each),
            "full",
        )
        for each in installed
    ]
    return (
        *found,
        Row("SIGKILL while a child process lives on", "export", outlived, "slow"),
        Row("no permission", "export", no_permission, "slow"),
        Row("a read-only folder", "export", read_only_folder, "slow", needs_mounts=True),
        Row("a read-only home", "export", partial(home, "read-only"), "full"),
        Row("no home", "export", partial(home, "none"), "slow"),
        Row("a home that is missing", "export", partial(home, "missing"), "full"),
        Row("no more memory", "export", without_memory, "full"),
        Row("a runtime out of memory", "export", runtime_without_memory, "full"),
        Row("a clock that jumps", "export", clock_jumps, "slow"),
        Row("another export of the same name", "export", partial(two_at_once, True), "slow"),
        Row("another export of another name", "export", partial(two_at_once, False), "full"),
    )
