"""Names of files and folders that programs stumble over, and links in the places of files."""

import os
import shutil
from pathlib import Path

from tests.faults.judging import Tally, Tree, tree
from tests.faults.row import NEW, Row, export, model
from tests.faults.running import run


def _named(here: Path, stem: str) -> Path:
    """The network under another name."""
    path = here / "given" / f"{stem}.pth"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(model(), path)
    return path


def _export(model: Path, out: object, *more: object) -> tuple[object, ...]:
    return ("export", model, "--to", "onnx", "--out", out, "-q", *more)


def _refused(tally: Tally, here: Path, arguments: tuple[object, ...], *said: str) -> None:
    """A command that must be refused in one sentence, and change nothing."""
    before = tree(here)
    done = run(arguments, here)
    tally.said(done.sentence)
    tally.expect(
        done.code == 2 and len(done.said.splitlines()) == 1 and any(s in done.said for s in said),
        f"{arguments}: {done.code} {done.said}",
    )
    tally.look(here, before, {**before, "tmp": "an empty folder"}, occasion=str(said))


def _same_but_named(whole: Tree, stem: str) -> set[str]:
    return {name.replace(model().stem, stem) for name in whole}


def readable(tally: Tally, here: Path) -> None:
    """Spaces, quotes, a dash in front, letters of other scripts, a line break, a percent sign."""
    run(export("onnx", "plain"), here)
    whole = tree(here / "plain")
    for stem in ("my model", 'it\'s "so"', "-rf", "Größe 模型 🙂", "a\nb", "100 % {x} $HOME"):
        out = here / f"{stem} out"
        done = run(_export(_named(here, stem), f"./{out.name}"), here)
        tally.expect(done.code == 0, f"{stem}: {done.said}")
        found = tree(out)
        names = _same_but_named(whole, stem)
        tally.look(out, {name: found.get(name, "missing") for name in names}, occasion=stem)


def not_utf8(tally: Tally, here: Path) -> None:
    """Bytes that are no text, in the name of the network and in that of the folder."""
    stem = os.fsdecode(b"m\xff")
    given = here / "given"
    given.mkdir()
    odd, plain = _named(here, stem), _named(here, "plain")
    (here / "tmp").mkdir()
    for arguments in (_export(odd, "out"), _export(plain, os.fsdecode(b"out\xfe"))):
        _refused(tally, here, arguments, "is not valid UTF-8: rename it")


def long(tally: Tally, here: Path) -> None:
    """Names of which the file fits and its companion does not, and paths that are too long."""
    most = os.pathconf(here, "PC_NAME_MAX")
    endings = (".onnx", ".onnx.reference.safetensors")
    just = "x" * (most - len(endings[1]))
    done = run(_export(_named(here, just), "out"), here)
    tally.expect(done.code == 0, done.said)
    tally.expect(len(tree(here / "out")) == 3, "not all files are there")
    shutil.rmtree(here / "out")
    for stem in (just + "x", "x" * (most - len(endings[0]))):
        _refused(tally, here, _export(_named(here, stem), "out"), "File name too long): rename")
    deep = Path(*["d" * 200] * 21)
    plain = _named(here, "plain")
    for out in ("o" * (most + 1), here / deep, "a/" + "o" * (most + 1)):
        _refused(tally, here, _export(plain, out), "File name too long): check --out")


def links(tally: Tally, here: Path) -> None:
    """Links stay what they are, and what they lead to is replaced."""
    run(export("onnx", "apart", *NEW), here)
    new = tree(here / "apart")
    name = f"{model().stem}.onnx"
    for kind in ("folder", "file", "dangling", "directory", "chain"):
        place = here / kind
        out, far = place / "out", place / "far"
        far.mkdir(parents=True)
        wanted = dict(new)
        if kind == "folder":
            out.symlink_to("far")
            done = run(export("onnx", f"{kind}/out", *NEW, "--force"), here)
            tally.look(far, new, occasion=kind)
        else:
            run(export("onnx", f"{kind}/out"), here)
            target = far / "target"
            (out / name).unlink()
            if kind == "file":
                target.write_text("old")
            elif kind == "directory":
                target.mkdir()
                (target / "old").touch()
            (out / name).symlink_to("../far/again" if kind == "chain" else "../far/target")
            (far / "again").symlink_to("target") if kind == "chain" else None
            wanted[name] = f"-> {os.readlink(out / name)}"
            done = run(export("onnx", f"{kind}/out", *NEW, "--force"), here)
            tally.look(out, wanted, occasion=kind)
            beside = {"again": "-> target"} if kind == "chain" else {}
            tally.look(far, {"target": new[name], **beside}, occasion=kind)
        tally.expect(done.code == 0, f"{kind}: {done.said}")


def loops(tally: Tally, here: Path) -> None:
    """Links that lead to themselves, and an output folder that is a link to nothing or a file."""
    (here / "tmp").mkdir()
    (here / "loop").symlink_to("loop")
    _refused(tally, here, export("onnx", "loop"), "leads to itself: remove it")
    (here / "file").touch()
    (here / "to-file").symlink_to("file")
    _refused(tally, here, export("onnx", "to-file"), "check --out")
    run(export("onnx", "out"), here)
    path = here / "out" / f"{model().stem}.onnx"
    path.unlink()
    path.symlink_to(path.name)
    _refused(tally, here, export("onnx", "out", "--force"), "leads to itself: remove it")
    (here / "lost").symlink_to("made/for/it")
    done = run(export("onnx", "lost"), here)
    tally.expect(done.code == 0, done.said)
    tally.expect(len(tree(here / "made" / "for" / "it")) == 3, "the folder of the link is empty")


def letter_case(tally: Tally, here: Path) -> None:
    """Two networks whose names differ in nothing but the case of a letter."""
    done = run(_export(_named(here, "Net"), "out"), here)
    tally.expect(done.code == 0, done.said)
    before = tree(here / "out")
    done = run(_export(_named(here, "net"), "out"), here)
    tally.said(done.sentence)
    tally.expect(done.code == 2 and "differs only in case" in done.said, done.said)
    tally.look(here / "out", before)


def rows() -> tuple[Row, ...]:
    """The rows of names and links."""
    return (
        Row("spaces, quotes and other scripts", "names", readable, "slow"),
        Row("not UTF-8", "names", not_utf8, "quick"),
        Row("very long", "names", long, "full"),
        Row("only the case differs", "names", letter_case, "full"),
        Row("symbolic links", "links", links, "slow"),
        Row("loops and links to nothing", "links", loops, "full"),
    )
