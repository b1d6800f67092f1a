"""A browser for tests of pages, and the files of ONNX Runtime Web."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slide_deploy.backends.web import assets
from slide_deploy.backends.web.browser import find_browser
from slide_deploy.errors import InputError

# No sandbox, since tests may run as root; WebGPU runs in software.
ARGUMENTS = ("--no-sandbox", "--enable-unsafe-webgpu", "--disable-background-networking")


def require_assets() -> None:
    """Skip the test where ONNX Runtime Web is neither here nor to be had."""
    try:
        assets.require()
    except InputError as error:
        pytest.skip(str(error))


@contextmanager
def launched(*switches: str) -> Iterator[Any]:
    """A browser, which ends with the block."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = find_browser()
    if found is None:
        pytest.skip("no browser of Chromium's kind is here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(found), args=[*ARGUMENTS, *switches])
        yield browser
        browser.close()
