"""The documentation as a site: built strictly, and opened in a browser as a reader would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import slide_deploy
from tests.browser import launched
from tests.guides.serving import served
from tests.guides.snippets import ROOT

WIDTH = 360
_ABOUT_THE_PAGE = """() => ({
    width: document.documentElement.scrollWidth,
    anchors: [...document.querySelectorAll("[id]")].map(each => each.id),
    links: [...document.querySelectorAll("a[href]")].map(each => each.href),
    text: document.body.innerText,
})"""


@dataclass
class Read:
    """What a browser found: a page by its address, and what went wrong on the way."""

    origin: str
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    requested: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def read(site: Path) -> Iterator[Read]:
    """Every page of the site, opened on a narrow screen."""
    with served(site) as origin, launched() as browser:
        found = Read(origin)
        page = browser.new_page(viewport={"width": WIDTH, "height": 740})
        page.on("request", lambda request: found.requested.add(request.url))
        page.on("pageerror", lambda error: found.errors.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                found.errors.append(f"{page.url}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        for path in sorted(site.rglob("*.html")):
            address = f"{origin}/{path.relative_to(site).as_posix()}"
            page.goto(address)
            found.pages[address] = page.evaluate(_ABOUT_THE_PAGE)
        yield found


@pytest.mark.slow
def test_every_page_is_there(site: Path) -> None:
    written = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in written
    assert {"index.html", "contributing.html", "reporting.html"} <= written


@pytest.mark.slow
def test_no_link_and_no_anchor_is_broken(site: Path, read: Read) -> None:
    broken = []
    for address, page in read.pages.items():
        for link in page["links"]:
            target, anchor = urldefrag(link)
            if not target.startswith(read.origin):
                assert urlsplit(target).scheme in ("https", "http"), f"{address}: {link}"
            elif target in read.pages:
                known = read.pages[target]["anchors"]
                if anchor and not anchor.startswith("__") and unquote(anchor) not in known:
                    broken.append(f"{address}: {link}")
            else:
                path = site / unquote(urlsplit(target).path).lstrip("/")
                if not (path.is_file() or (path / "index.html").is_file()):
                    broken.append(f"{address}: {link}")
    assert not broken
    assert sum(len(page["links"]) for page in read.pages.values()) > 1000


@pytest.mark.slow
def test_no_error_and_no_other_host(read: Read) -> None:
    assert not read.errors
    assert not [url for url in read.requested if not url.startswith((read.origin, "data:"))]


@pytest.mark.slow
def test_it_is_readable_on_a_phone(read: Read) -> None:
    wide = {address: page["width"] for address, page in read.pages.items() if page["width"] > WIDTH}
    assert not wide


@pytest.mark.slow
def test_pages_that_are_written_elsewhere_have_their_text(read: Read) -> None:
    text = {urlsplit(address).path[1:]: page["text"] for address, page in read.pages.items()}
    assert "make demo" in text["index.html"]
    assert (
        "--calibration" in text["commands.html"] and "slide-deploy bench" in text["commands.html"]
    )
    for name in dir(slide_deploy):
        if not name.startswith("_"):
            assert name in text["api.html"], f"the reference lacks {name}"
    assert "open_sizes" in text["api.html"], "arguments are described"
