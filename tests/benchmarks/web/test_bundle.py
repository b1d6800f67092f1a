"""The page as static files: from any server, and as one file from a disk."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.result import read
from benchmarks.web.bundle import write_bundle
from slide_deploy.errors import InputError
from tests.benchmarks.web.visits import Visit, candidate, planned, visiting
from tests.browser import require_assets


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """Run a server that does not send the headers of cross-origin isolation."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def downloaded(visit: Visit, place: Path) -> Path:
    with visit.page.expect_download() as saved:
        visit.page.click("#download")
    saved.value.save_as(place)
    return place


@pytest.mark.slow
def test_a_server_without_isolation_and_a_page_from_a_file_use_one_thread(
    run: Any, browser: Any, small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    pages = write_bundle(planned([candidate(small)], threads=4), out)
    assert [page.name for page in pages] == ["index.html", "single.html"]
    results = []
    with plain_server(out) as address:
        for number, place in enumerate((address, (out / "single.html").as_uri())):
            with visiting(browser, place) as visit:
                visit.page.wait_for_selector("#start:not([hidden])")
                assert "Isolated\nno" in visit.text()
                visit.page.click("#start")
                assert "proven: 2 cases" in visit.finish() and "Done." in visit.text()
                results.append(downloaded(visit, tmp_path / f"{number}.json"))
                assert visit.errors == []
            found = read(results[-1])
            [measured] = found.measurements
            assert measured.candidate.configuration.threads == 1
            assert measured.runtime["threads"] == "1" and len(measured.rounds) == 6
            assert measured.proof is not None
            assert found.machine["cross-origin isolated"] == "no"
            # The timer is coarse, so a sample contains several calls.
            assert measured.repetitions >= 2
    code, shown, _ = run("report", *results)
    assert code == 0 and "web:wasm" in shown
    code, shown, _ = run("compare", *results, "--fail-above", "1000%")
    assert code == 0, shown


def test_a_web_bundle_contains_no_facts_of_this_machine(small: Path, tmp_path: Path) -> None:
    require_assets()
    out = tmp_path / "bundle"
    write_bundle(planned([candidate(small)]), out)
    names = {each.relative_to(out).as_posix() for each in out.rglob("*") if each.is_file()}
    assert {"index.html", "plan.json", f"model/0/{small.name}", "runtime/LICENSE"} <= names
    for name in names:
        if name.endswith((".json", ".html")):
            assert str(tmp_path).encode() not in (out / name).read_bytes()
    plan = json.loads((out / "plan.json").read_text())
    assert plan["post"] is None and set(plan["runtime"]["wasm"]) <= names
    with pytest.raises(InputError, match="already exists: give a new folder"):
        write_bundle(planned([candidate(small)]), out)


def test_gpu_targets_have_no_single_file(small: Path, tmp_path: Path) -> None:
    require_assets()
    [page] = write_bundle(planned([candidate(small, "webgpu")]), tmp_path / "bundle")
    assert page.name == "index.html"
    runtime = {each.name for each in (tmp_path / "bundle" / "runtime").iterdir()}
    assert "ort.webgpu.min.mjs" in runtime and "ort.wasm.min.mjs" in runtime
