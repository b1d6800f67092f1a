"""Drive one page in the system's Chromium, without a window.

Playwright's objects may be used only in the thread that created them. A worker thread creates and
uses them, so that a session may be called from any thread.
"""

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from slide_deploy.backends.native_messages import message_lines
from slide_deploy.errors import InputError, MissingExtra

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
# No connections to the browser's vendor, and no throttling of a window that is not visible.
_ARGUMENTS = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
)
# WebGPU on Linux (on CPUs too) and WebNN have to be enabled by switches.
_SWITCHES = {
    "webgpu": ("--enable-unsafe-webgpu",),
    "webnn": ("--enable-features=WebMachineLearningNeuralNetwork",),
}
_T = TypeVar("_T")


def find_browser() -> Path | None:
    """Return a Chromium-based browser, or None if there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is not None:
        return Path(found)
    return next((path for path in map(Path, _PLACES) if path.is_file()), None)


def missing() -> str | None:
    """Return what is missing to drive a browser and the command that helps, or None."""
    if find_spec("playwright") is None:
        return "playwright is not installed: pip install 'slide-deploy[web]'"
    if find_browser() is None:
        return "there is no Chromium-based browser here: install chromium, or Google Chrome"
    return None


class DrivenPage:
    """A page in a new browser process, which `close` ends.

    Args:
        address: of the page, which must define ``send(command, argument)``.
        device: the browser is started with the switches of this device.

    Raises:
        MissingExtra: without playwright.
        InputError: if there is no browser, or it does not start.
    """

    def __init__(self, address: str, device: str) -> None:
        if find_spec("playwright") is None:
            raise MissingExtra("playwright", "web")
        browser = find_browser()
        if browser is None:
            raise InputError(f"web:{device} cannot run here: {missing()}.")
        self._thread = ThreadPoolExecutor(1, "slide-deploy-browser")
        self._driver: Any = None
        self._page: Any = None
        try:
            self._call(lambda: self._start(browser, address, device))
        except Exception as error:
            self.close()
            raise InputError(
                f"{browser} does not start ({message_lines(error)[0]}): check that it starts by "
                f"hand."
            ) from error

    def send(self, command: str, argument: object = None) -> Any:
        """Run a command in the page, and return its result.

        Raises:
            InputError: with the page's reason, or if the browser has ended.
        """
        try:
            reply = self._call(
                lambda: self._page.evaluate(
                    "([name, value]) => send(name, value)", [command, argument]
                )
            )
        except Exception as error:
            raise InputError(
                f"The browser ended ({message_lines(error)[0]}): try again."
            ) from error
        if "error" in reply:
            raise InputError(reply["error"])
        return reply.get("result")

    def close(self) -> None:
        """End the browser if it is still running."""
        if self._driver is not None:
            driver, self._driver = self._driver, None
            with suppress(Exception):  # it has already ended
                self._call(driver.stop)
        self._thread.shutdown(wait=False)

    def _start(self, browser: Path, address: str, device: str) -> None:
        from playwright.sync_api import sync_playwright

        self._driver = sync_playwright().start()
        arguments = [*_ARGUMENTS, *_SWITCHES.get(device, ()), *_sandbox()]
        # Playwright creates and deletes an empty profile. This process handles the signals itself.
        started = self._driver.chromium.launch(
            executable_path=str(browser),
            args=arguments,
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
        )
        self._page = started.new_page()
        self._page.set_default_timeout(0)
        self._page.goto(address)
        self._page.wait_for_function("typeof send === 'function'", timeout=30_000)

    def _call(self, function: Callable[[], _T]) -> _T:
        return self._thread.submit(function).result()


def _sandbox() -> tuple[str, ...]:
    """Turn off the sandbox for root, as in a container: Chromium does not start with it."""
    is_root = sys.platform != "win32" and os.geteuid() == 0
    return ("--no-sandbox",) if is_root else ()
