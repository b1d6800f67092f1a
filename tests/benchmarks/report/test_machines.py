"""The table across machines, in both output formats."""

from dataclasses import replace

import pytest

from benchmarks.record import Artifact, Configuration
from benchmarks.report import render_html, render_markdown
from benchmarks.report.machines import machines
from benchmarks.report.summary import summarise
from tests.benchmarks import synthetic
from tests.benchmarks.report.test_html import Page
from tests.benchmarks.synthetic import LAPTOP, measurement, run

CPU = "onnxruntime:cpu"


def table(*runs):
    return machines(summarise(runs))


def cells(found):
    return {name: [cell.text for cell in held] for name, held in found.rows}


def test_one_machine_needs_no_table():
    assert table(synthetic.server(), synthetic.server()) is None
    assert table() is None


def test_rows_are_files_and_columns_are_machines_and_targets():
    here = run(
        [
            measurement(f"a.onnx on {CPU}", milliseconds=10),
            measurement(f"b.onnx on {CPU}", milliseconds=20),
            measurement("a.onnx on openvino:cpu", "openvino:cpu", 8),
        ]
    )
    there = run([measurement(f"a.onnx on {CPU}", milliseconds=5)], machine=LAPTOP)
    found = table(here, there)
    assert found.headings == (
        ("AMD EPYC 7B12", CPU),
        ("AMD EPYC 7B12", "openvino:cpu"),
        ("Apple M2", CPU),
    )
    texts = cells(found)
    assert list(texts) == ["a.onnx", "b.onnx"]
    assert [float(text) for text in texts["a.onnx"]] == pytest.approx([10, 8, 5], rel=0.05)
    assert texts["b.onnx"][1:] == ["–", "–"]
    assert found.differing == ()


def test_batches_have_separate_rows():
    eight = measurement(f"a.onnx on {CPU}, batch 8", configuration=Configuration(batch=8))
    found = table(run([measurement(f"a.onnx on {CPU}"), eight]), run([], machine=LAPTOP))
    assert list(cells(found)) == ["a.onnx", "a.onnx, batch 8"]


def test_failures_are_shown():
    found = table(run([synthetic.failing("a.onnx")]), run([], machine=LAPTOP))
    assert cells(found) == {"a.onnx": ["failed"]}


def test_few_samples_are_shown_without_an_interval():
    few = measurement("a", rounds=synthetic.rounds(10, count=2, calls=3))
    ((_, (cell,)),) = table(run([few]), run([], machine=LAPTOP)).rows
    assert float(cell.text) == pytest.approx(10, rel=0.1) and not cell.detail and cell.reason


def test_the_last_run_of_a_machine_counts():
    first, last = (run([measurement("a", milliseconds=time)]) for time in (10, 20))
    other = run([measurement("a", milliseconds=30)], machine=LAPTOP)
    found = table(first, other, last)
    assert [float(text) for text in cells(found)["a"]] == pytest.approx([20, 30], rel=0.05)


def test_machines_with_equal_names_are_numbered():
    twin = synthetic.SERVER | {"memory": "48 GB"}
    found = table(run([measurement("a")]), run([measurement("a")], machine=twin))
    assert [machine for machine, _ in found.headings] == ["AMD EPYC 7B12", "AMD EPYC 7B12 (2)"]


def test_different_files_with_equal_names_are_reported():
    changed = measurement("a", artifact=Artifact("a", "cd" * 32, 1))
    here = [measurement("a"), measurement("b")]
    found = table(run(here), run([changed, measurement("b")], machine=LAPTOP))
    assert found.differing == ("a",)
    # A suite's candidate is another file for each runtime.
    elsewhere = replace(changed, candidate=replace(changed.candidate, target="openvino:cpu"))
    assert table(run(here), run([elsewhere], machine=LAPTOP)).differing == ()


def test_both_formats_begin_with_the_table():
    runs = [synthetic.server(), synthetic.laptop()]
    markdown = render_markdown(runs)
    assert markdown.index("## All machines") < markdown.index("## `AMD EPYC 7B12`")
    assert "| `AMD EPYC 7B12` `onnxruntime:cpu` |" in markdown
    assert "Medians in milliseconds, with 95% intervals." in markdown
    text = Page(render_html(runs)).text()
    assert text.index("All machines") < text.index("slide_swin_tiny-branched.onnx")
    for one in ([runs[0]], [runs[0], runs[0]]):
        assert "All machines" not in render_markdown(one)
        assert "All machines" not in render_html(one)


def test_untrusted_text_stays_in_its_cell():
    runs = [synthetic.hostile(), synthetic.laptop()]
    page = Page(render_html(runs))
    assert not page.open
    assert "img" not in {tag for tag, _ in page.tags}
    block = render_markdown(runs).split("## All machines\n\n")[1].split("\n\n")[0]
    assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
