"""The table in the wheel is sound; a damaged one is refused in one sentence."""

import json
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.formats import known_formats
from slide_deploy.lowerings import Lowering
from slide_deploy.tuning import store
from slide_deploy.tuning.choice import choose, sensible_strips
from slide_deploy.tuning.store import Table, read_table, shipped_file, write_table
from slide_deploy.tuning.table import TABLE_VERSION
from tests.tuning.entries import entry, geometry


def test_every_shipped_entry_names_forms_that_exist_and_strips_that_fit() -> None:
    table = read_table(shipped_file())  # figures and winners are checked by reading
    for each in table.entries:
        for trial in each.trials:
            assert Lowering.parse(trial.lowering).strips <= sensible_strips(each.geometry)
        assert each.machine
        assert each.command.startswith("slide-deploy tune")
        assert "/home" not in each.command


def test_every_shipped_entry_is_chosen_as_recorded() -> None:
    table = read_table(shipped_file())
    for each in table.entries:
        found = choose(each.target, each.precision, each.geometry, [table])
        assert str(found.lowering) == each.winner
        assert found.entry == each


def test_every_format_has_a_target_with_a_default_that_exists() -> None:
    for format in known_formats():
        found = choose(format.target, "float32", geometry(), ())
        assert str(found.lowering) == format.default_form


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    entries = (entry(), entry(target="openvino:cpu", dropped={"running-mean": "it disagrees"}))
    table = Table(tmp_path / "new" / "tuning.json", entries)
    write_table(table)
    assert read_table(table.path) == table
    assert [path.name for path in table.path.parent.iterdir()] == ["tuning.json"]


def test_an_entry_replaces_an_older_one_with_the_same_key(tmp_path: Path) -> None:
    old, other, new = entry(threads=1), entry(geometry=geometry(channels=192, heads=6)), entry()
    table = Table(tmp_path / "t.json").with_entry(old).with_entry(other).with_entry(new)
    assert set(map(id, table.entries)) == {id(other), id(new)}


def document(**changed: object) -> dict:
    table = Table(Path("unused"), (entry(),))
    plain = json.loads(json.dumps(store.asdict(store._Document(TABLE_VERSION, table.entries))))
    plain["entries"][0] |= changed
    return plain


def trial(**changed: object) -> dict:
    plain = {
        "lowering": "running-mean",
        "milliseconds": 9.0,
        "ratio": 0.9,
        "low": 0.8,
        "high": 0.95,
    }
    return plain | {"final": True} | changed


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"winner": "depthwise"}, "the winner is not the fastest candidate"),
        ({"winner": "running-mean"}, "the winner is not the fastest candidate"),
        ({"baseline": "running-mean"}, "the baseline was not in the long race"),
        ({"threads": 0}, "threads is below 1"),
        ({"threads": "2"}, "threads should be a whole number, and is 2"),
        ({"threads": True}, "threads should be a whole number, and is True"),
        ({"precision": "float8"}, "float8 is not a precision"),
        ({"target": "cpu"}, "cpu is not RUNTIME:DEVICE"),
        ({"faster": True}, "entries[0].faster is not a key here; known: target, precision"),
        ({"trials": {}}, "trials should be a list"),
        ({"trials": [trial(), trial()]}, "a candidate is listed twice"),
        ({"trials": [trial(lowering="running-mean/57")]}, "more strips than rows"),
        ({"trials": [trial(lowering="running-mean/0")]}, "'running-mean/0' is not a lowering"),
        ({"trials": [trial(ratio=2.0)]}, "the ratio of running-mean lies outside its interval"),
        ({"trials": [trial(milliseconds=0)]}, "not finite and above 0"),
        ({"trials": [trial(milliseconds=10**400)]}, "not finite and above 0"),
        ({"trials": [{}]}, "trials[0].lowering is missing; add it"),
        ({"geometry": None}, "geometry should be a table"),
        (
            {"dropped": {"flat": 1}},
            "dropped.flat should be a text, and is 1",
        ),
    ],
)
def test_contradictory_entries_are_refused(tmp_path: Path, changed, sentence) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps(document(**changed)))
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "remove it and run slide-deploy tune again" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "not valid JSON"),
        ("[]", "its version is not 1"),
        ('{"version": 0, "entries": []}', "its version is not 1"),
        ('{"version": true, "entries": []}', "version should be a whole number"),
        ('{"version": 1}', "entries is missing"),
        ('{"version": 1, "entries": [NaN]}', "not valid JSON"),
        ('{"version": 1, "entries": ' + "[" * 100_000, "not valid JSON"),
        ('{"version": 2, "shape": "new"}', "written by a newer slide-deploy"),
    ],
)
def test_damaged_tables_are_refused_in_one_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_entries_with_one_key_are_refused(tmp_path: Path) -> None:
    plain = document()
    plain["entries"] *= 2
    (tmp_path / "t.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="two entries have the same target, precision"):
        read_table(tmp_path / "t.json")


def test_the_users_table_comes_first_and_need_not_exist(tmp_path: Path, monkeypatch) -> None:
    own = tmp_path / "tuning.json"
    monkeypatch.setattr(store, "user_file", lambda: own)
    assert [table.path for table in store.known_tables()] == [shipped_file()]
    write_table(Table(own, (entry(),)))
    assert [table.path for table in store.known_tables()] == [own, shipped_file()]
    own.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        store.known_tables()
