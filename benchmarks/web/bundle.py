"""Writes the page as static files for any server, and as a single file if it is small."""

import shutil
from pathlib import Path

from benchmarks.web.pages import resources
from benchmarks.web.plan import PagePlan
from benchmarks.web.single_file import single_file, takes
from slide_deploy.errors import InputError
from slide_deploy.files.folders import require_writable_folder, working_folder
from slide_deploy.files.publishing import publication
from slide_deploy.files.scratch import LOCK, PREFIX

SINGLE = "single.html"


def write_bundle(plan: PagePlan, out: Path) -> tuple[Path, ...]:
    """Write the page into a new folder, atomically.

    Returns:
        The page for a server and, if the plan is small enough, the page in a single file.

    Raises:
        InputError: The folder is not empty, or cannot be written.
    """
    if out.is_dir() and any(map(_is_hidden, out.iterdir())):
        require_writable_folder(out, "--web-bundle")  # publishes or removes what a killed run left
    require_new(out)
    held = resources(plan)
    pages = {"index.html": out / "index.html"}
    with working_folder(out, "--web-bundle") as work, publication(work) as moves:
        require_new(out)  # another run may have published meanwhile
        for name, resource in held.items():
            place = work / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(resource, bytes):
                place.write_bytes(resource)
            else:
                shutil.copyfile(resource, place)
        if takes(plan):
            (work / SINGLE).write_text(single_file(plan), encoding="utf-8")
            pages[SINGLE] = out / SINGLE
        # A page comes when all that it loads is there.
        for name in sorted({Path(name).parts[0] for name in held} - {"index.html"}):
            moves.put(name)
        for name in pages:
            moves.put(name)
    return tuple(pages.values())


def require_new(out: Path) -> None:
    """Check that a folder is empty, as a server would serve existing files too.

    The hidden folders and the lock of runs at the same time do not count.

    Raises:
        InputError: The path is not a folder, or the folder is not empty.
    """
    if out.exists() and not (out.is_dir() and all(map(_is_hidden, out.iterdir()))):
        raise InputError(f"--web-bundle {out} already exists: give a new folder.")


def _is_hidden(path: Path) -> bool:
    """Whether a file or folder is one that running and killed runs have in an output folder."""
    return path.name.startswith((PREFIX, LOCK))
