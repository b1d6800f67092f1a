"""A result file is read back exactly, in all versions, or is refused in one sentence."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

import benchmarks.result as result
from benchmarks.record import Candidate, Configuration, Round, Run
from slide_deploy.errors import InputError
from tests.benchmarks import synthetic

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    result.write(synthetic.server(), tmp_path / "run.json")
    return json.loads((tmp_path / "run.json").read_text())


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        result.read(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and text.endswith(".")
    return text


def refusal_of(content: object, tmp_path: Path) -> str:
    path = tmp_path / "changed.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return refusal(path)


@pytest.mark.parametrize(
    "make", [synthetic.server, synthetic.laptop, synthetic.hostile, synthetic.sparse]
)
def test_a_written_run_is_read_back_exactly(make: Any, tmp_path: Path) -> None:
    result.write(make(), tmp_path / "run.json")
    assert result.read(tmp_path / "run.json") == make()


def test_tuples_and_named_shapes_keep_their_types(tmp_path: Path) -> None:
    configuration = Configuration(
        pinned=(0, 1), shapes={"image": (1, 3, 64, 64), "": ()}, options={"a": "1"}
    )
    run = synthetic.run([synthetic.measurement("a.onnx", configuration=configuration)])
    result.write(run, tmp_path / "run.json")
    read = result.read(tmp_path / "run.json").measurements[0].candidate.configuration
    assert read == configuration
    assert type(read.pinned) is type(read.shapes["image"]) is tuple


def test_the_first_version_can_still_be_read() -> None:
    run = result.read(GOLDEN / "version_1.json")
    assert run.machine["processor"] == "AMD EPYC 7B12"
    first, failed = run.measurements
    assert first.candidate.configuration.shapes == {"image": (1, 3, 224, 224)}
    assert first.rounds[0].samples == (14_100_000, 14_200_000, 14_050_000)
    assert first.operators[0].operator == "FusedConv"
    assert failed.error and not failed.rounds


def test_older_versions_are_upgraded_step_by_step(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if there were two more versions: the first renamed a field, the second added one.
    monkeypatch.setattr(result, "RECORD_VERSION", 3)
    monkeypatch.setitem(result.UPGRADES, 1, lambda old: old | {"tool": old["tool"] + "+1"})
    monkeypatch.setitem(result.UPGRADES, 2, lambda old: old | {"tool": old["tool"] + "+2"})
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    assert (result.read(path).version, result.read(path).tool) == (3, "0.2.0+1+2")


def test_an_upgrade_refuses_fields_that_the_old_version_lacks(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "RECORD_VERSION", 2)
    monkeypatch.setitem(result.UPGRADES, 1, lambda old: old | {"tool": old["lost"]})
    assert "version 1" in refusal_of(content, tmp_path)


def test_every_version_has_an_upgrade_step() -> None:
    assert sorted(result.UPGRADES) == list(range(1, result.RECORD_VERSION))


def test_a_file_of_a_newer_version_asks_for_an_upgrade(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["version"] = result.RECORD_VERSION + 1
    content["unheard_of"] = 1
    text = refusal_of(content, tmp_path)
    assert "newer slide-deploy" in text and "upgrade" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "nul",
        "{}",
        '{"version": true}',
        '{"version": "1"}',
        '{"version": 0}',
        "[" * 99999,
        '{"version": NaN}',
        '{"version": 1}',
        f'{{"version": 1{"0" * 5000}}}',
        "\ufeff{}",
    ],
)
def test_text_that_is_not_a_run_is_refused(text: str, tmp_path: Path) -> None:
    refusal_of(text, tmp_path)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00{")
    assert "JSON" in refusal(tmp_path / "a.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "bench" in refusal(tmp_path / "missing.json")
    refusal(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "MAX_BYTES", 10)
    assert "bytes" in refusal_of({"version": 1}, tmp_path)


# Path in the document, its damaged value, and words of the error message.
DAMAGE: tuple[tuple[str, Any, str], ...] = (
    ("seconds", math.nan, "NaN"),
    ("seconds", math.inf, "Infinity"),
    ("seconds", -1.0, "seconds"),
    ("seconds", "20", "seconds"),
    ("started", "yesterday", "ISO 8601"),
    ("noise", 0.5, "noise"),
    ("misspelt", 1, "misspelt"),
    ("machine", {"cores": 2}, "machine.cores"),
    ("limits.macs_per_second", [-1.0], "macs_per_second"),
    ("limits.threads", 0, "limits.threads"),
    ("limits.cache", -1, "limits.cache"),
    ("limits.product", "[click](http://example.com)", "limits.product"),
    ("measurements.0.candidate.configuration.threads", True, "threads"),
    ("measurements.0.candidate.configuration.batch", 0, "batch"),
    ("measurements.0.candidate.configuration.streams", 10**30, "streams"),
    ("measurements.0.candidate.configuration.shapes", {"x": [-1]}, "shapes"),
    ("measurements.0.candidate.configuration.shapes", {"x": [1.5]}, "shapes"),
    ("measurements.0.candidate.misspelt", 1, "misspelt"),
    ("measurements.0.candidate.extra_work", -1.0, "extra_work"),
    ("measurements.1.candidate.name", "slide_swin_tiny-branched.onnx", "two candidates"),
    ("measurements.0.artifact.size", -1, "artifact.size"),
    ("measurements.0.artifact.macs", 10**400, "artifact.macs"),
    ("measurements.0.artifact.accuracy", 82.3, "accuracy"),
    ("measurements.0.artifact.published_accuracy", 82.3, "published_accuracy"),
    ("measurements.0.artifact.accuracy_interval", [0.1, 0.2], "accuracy_interval"),
    ("measurements.0.artifact.accuracy_interval", [0.9, 0.7], "accuracy_interval"),
    ("measurements.0.artifact.accuracy_interval", [0.5], "accuracy_interval"),
    ("measurements.0.memory.peak", -5, "memory.peak"),
    ("measurements.0.cold.stages", {"import": -0.1}, "cold.stages.import"),
    ("measurements.0.repetitions", 0, "repetitions"),
    ("measurements.0.rounds.0.samples", [0], "out of range"),
    ("measurements.0.rounds.0.samples", [-4], "out of range"),
    ("measurements.0.rounds.0.samples", [10**16], "out of range"),
    ("measurements.0.rounds.0.samples", [1.5], "samples"),
    ("measurements.0.rounds.0.seconds", 1e300, "seconds"),
    ("measurements.0.rounds.0.start", -1.0, "start"),
    ("measurements.1.operators.0.nanoseconds", -1, "operators"),
    ("measurements.1.sustained.0.seconds", -1.0, "sustained"),
    ("measurements.0.warm_up.calls", -1, "warm_up.calls"),
)


@pytest.mark.parametrize(("where", "value", "says"), DAMAGE)
def test_impossible_figures_are_refused(
    content: dict[str, Any], tmp_path: Path, where: str, value: Any, says: str
) -> None:
    *path, last = where.split(".")
    inner: Any = content
    for part in path:
        inner = inner[int(part) if part.isdigit() else part]
    inner[last] = value
    assert says in refusal_of(content, tmp_path)


@pytest.mark.parametrize("field", ["seconds", "machine", "measurements"])
def test_a_missing_field_is_named(content: dict[str, Any], tmp_path: Path, field: str) -> None:
    del content[field]
    assert field in refusal_of(content, tmp_path)


def test_nan_is_never_written_and_an_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result.write(synthetic.server(), path)
    before = path.read_bytes()
    for bad in (
        replace(synthetic.server(), seconds=math.nan),
        replace(synthetic.server(), seconds=-1.0),
        synthetic.run([synthetic.measurement("a", rounds=(Round(0.0, math.inf, (1,)),))]),
    ):
        with pytest.raises(InputError, match=r"run\.json"):
            result.write(bad, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]


def test_a_missing_folder_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        result.write(synthetic.server(), tmp_path / "missing" / "run.json")


def test_a_path_that_is_not_text_leaves_the_file_readable(tmp_path: Path) -> None:
    item = synthetic.measurement("a.onnx")
    odd = replace(item, candidate=Candidate("a.onnx", "caf\udce9.onnx", "onnxruntime:cpu"))
    result.write(synthetic.run([odd]), tmp_path / "run.json")
    assert result.read(tmp_path / "run.json").measurements[0].candidate.path == "caf?.onnx"


def test_the_schema_agrees_with_the_reader(content: dict[str, Any]) -> None:
    schema = TypeAdapter(Run).json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(content)
    assert validator.is_valid(json.loads((GOLDEN / "version_1.json").read_text()))
    assert not validator.is_valid(content | {"misspelt": 1})
    assert not validator.is_valid({"version": 1})
