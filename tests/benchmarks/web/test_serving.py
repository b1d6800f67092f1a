"""The command waits for one result of its own run, from any device with the address."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.record import Run
from benchmarks.result import encode
from benchmarks.web import serving
from benchmarks.web.acceptance import MOST_BYTES
from benchmarks.web.plan import PagePlan
from benchmarks.web.serving import Waiting, waiting
from slide_deploy.errors import InputError
from tests.benchmarks.web.visits import candidate, planned, visiting


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PagePlan:
    """Return a plan for a file that no browser opens."""
    path = tmp_path / "net" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(b"net")
    monkeypatch.setattr(serving, "resources", lambda plan, post: {"index.html": b"<p>page"})
    return planned([candidate(path)])


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def served(plan: PagePlan, said: list[str]) -> Iterator[Waiting]:
    with waiting(plan, on_event=said.append) as found:
        yield found


def result_of(plan: PagePlan, **changes: Any) -> dict[str, Any]:
    """Return the result that a page sends."""
    measurement = json.loads(json.dumps(plan.document["candidates"][0]["measurement"]))
    measurement["rounds"] = [{"start": 1, "seconds": 0.5, "samples": [1000, 2000]}]
    measurement["runtime"] = {"library": "onnxruntime-web"}
    machine = {"system": "Phone"}
    run = {**plan.document["run"], "started": "2026-01-01T00:00:00+00:00", "machine": machine}
    return {**run, "measurements": [measurement], **changes}


def post(served: Waiting, content: Any, path: str = "result", **headers: str) -> tuple[int, str]:
    parts = urlsplit(served.address)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)) as made:
        told = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        made.request("POST", parts.path + path, body, told)
        answer = made.getresponse()
        return answer.status, answer.read().decode()


def test_one_result_is_accepted_and_the_second_is_refused(served: Waiting, plan: PagePlan) -> None:
    assert post(served, result_of(plan)) == (
        200,
        "Sent to the command. You can close this page.",
    )
    run = served.result()
    assert run.machine == {"system": "Phone"} and run.measurements[0].pooled_samples == (1000, 2000)
    status, words = post(served, result_of(plan))
    assert status == 410 and "already has a result" in words


def damages() -> dict[str, Callable[[dict[str, Any]], Any]]:
    def inside(**changes: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda run: {**run, "measurements": [{**run["measurements"][0], **changes}]}

    def candidate_with(**changes: Any) -> Callable[[dict[str, Any]], Any]:
        def change(run: dict[str, Any]) -> Any:
            [measurement] = run["measurements"]
            return inside(candidate={**measurement["candidate"], **changes})(run)

        return change

    return {
        "no JSON": lambda run: b"{",
        "no object": lambda run: [],
        "nothing": lambda run: {},
        "unknown field": lambda run: {**run, "more": 1},
        "not a number": lambda run: json.dumps(run).replace("0.5", "NaN").encode(),
        "text for a number": lambda run: {**run, "seconds": "1"},
        "deep": lambda run: b"[" * 100_000,
        "negative time": inside(rounds=[{"start": 0, "seconds": 1, "samples": [-5]}]),
        "another name": candidate_with(name="faster"),
        "another file": inside(artifact=None),
        "another target": candidate_with(target="onnxruntime:cpu"),
        "a path": candidate_with(path="/etc/passwd"),
        "more measurements": lambda run: {**run, "measurements": run["measurements"] * 2},
        "none": lambda run: {**run, "measurements": []},
        "more seconds": lambda run: {**run, "seconds": 99.0},
        "escapes of a terminal": lambda run: {**run, "machine": {"system": "\x1b]0;x\x07"}},
        "long text": lambda run: {**run, "machine": {"user agent": "x" * 1000}},
        "many facts": lambda run: {**run, "machine": {f"fact {i}": "x" for i in range(100)}},
        "escapes in an error": inside(error="\x1b[2J"),
        "a proof by nothing": inside(proof={"cases": 1, "relative": 0.0, "snr_db": None}),
    }


@pytest.mark.parametrize("name", damages())
def test_a_result_of_another_run_is_refused_in_one_sentence(
    served: Waiting, plan: PagePlan, said: list[str], name: str
) -> None:
    status, words = post(served, damages()[name](result_of(plan)))
    assert status == 422 and words.endswith(".") and "\n" not in words and words.isprintable()
    assert said == [f"A result was refused: {words}"]
    # A correct result is still accepted.
    assert post(served, result_of(plan))[0] == 200


def test_too_large_results_are_refused_with_a_message(served: Waiting, plan: PagePlan) -> None:
    status, words = post(served, b" " * (MOST_BYTES + 1))
    assert status == 413 and "larger than" in words
    assert post(served, result_of(plan))[0] == 200


def test_other_sites_and_html_forms_cannot_post(served: Waiting, plan: PagePlan) -> None:
    host = urlsplit(served.address).netloc
    for origin in ("http://evil.test", "null", f"https://{host}"):
        assert post(served, result_of(plan), Origin=origin)[0] == 403
    assert post(served, result_of(plan), Content_Type="text/plain")[0] == 415
    assert post(served, result_of(plan), Host="evil.test")[0] == 403
    assert post(served, result_of(plan), path="")[0] == 404
    assert post(served, result_of(plan), Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/result", "/wrong/index.html", "/result"])
def test_a_wrong_token_gets_a_message_and_no_page(served: Waiting, path: str) -> None:
    parts = urlsplit(served.address)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)) as made:
        made.request("GET", path)
        answer = made.getresponse()
        assert answer.status == 404
        assert b"open the whole address that slide-deploy has printed" in answer.read()


def test_tokens_are_new_each_time_and_long(plan: PagePlan) -> None:
    tokens = set()
    for _ in range(3):
        with waiting(plan) as found:
            tokens.add(urlsplit(found.address).path.strip("/"))
    assert len(tokens) == 3 and all(len(token) >= 22 for token in tokens)


def test_other_machines_are_served_only_on_request(plan: PagePlan) -> None:
    with waiting(plan) as found:
        assert urlsplit(found.address).hostname == "127.0.0.1"
        elsewhere = serving._reachable("0.0.0.0")
        if not elsewhere.startswith("127."):
            with pytest.raises(OSError):
                http.client.HTTPConnection(elsewhere, found.port, timeout=5).request("GET", "/")
    with (
        pytest.raises(InputError, match=r"cannot be served at 192\.0\.2\.77"),
        waiting(plan, "192.0.2.77"),
    ):
        pass


def test_one_of_several_simultaneous_results_is_accepted(served: Waiting, plan: PagePlan) -> None:
    statuses: list[int] = []

    def hand_back() -> None:
        statuses.append(post(served, result_of(plan))[0])

    threads = [threading.Thread(target=hand_back) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[410] * 7]


def test_hostile_facts_remain_text_in_every_report(served: Waiting, plan: PagePlan) -> None:
    from benchmarks.report import render_html, render_markdown

    hostile = {"system": "<img src=x onerror=alert(1)>", "user agent": "[red]x[/red] | `y`"}
    assert post(served, result_of(plan, machine=hostile))[0] == 200
    run: Run = served.result()
    assert "<img src=x" not in render_html([run])
    assert "`<img src=x onerror=alert(1)>`" in render_markdown([run])  # as code, not as markup
    assert encode(run, Path("x"))


@pytest.mark.slow
def test_a_reload_a_closed_tab_and_a_second_device_end_well(browser: Any, small: Path) -> None:
    plan = planned([candidate(small)], seconds=1)
    with waiting(plan) as served:
        # A slow machine may measure to the end before the tab is closed or loaded again.
        with visiting(browser, served.address, blocked="**/result") as closed:
            closed.page.wait_for_selector("#stop:not([hidden])")
        with visiting(browser, served.address, blocked="**/result") as first:
            first.page.wait_for_selector("#stop:not([hidden])")
            first.page.reload()
            first.page.unroute("**/result")
            first.finish()
            first.page.wait_for_selector("#handed:not([hidden])")
            assert "Sent to the command" in first.text()
        with visiting(browser, served.address) as second:
            second.finish()
            second.page.wait_for_selector("#handed:not([hidden])")
            assert "already has a result" in second.text()
        assert served.result().measurements[0].rounds
    with (
        pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"),
        visiting(browser, served.address),
    ):
        pass


@pytest.mark.slow
def test_the_page_reports_that_the_command_has_ended(browser: Any, small: Path) -> None:
    plan = planned([candidate(small)], seconds=3)
    with waiting(plan) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.address)
        page.wait_for_selector(".latency", timeout=60_000)
    page.wait_for_selector("#handed:not([hidden])", timeout=60_000)
    assert "The command does not respond" in page.inner_text("#handed")
    assert page.is_visible("#download")
    context.close()
