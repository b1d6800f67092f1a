"""Results of shards joined are the result of one run, whatever the shards; others are refused."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import rows_of
from slide_deploy.evaluation.merging import merge
from slide_deploy.evaluation.record import Record
from slide_deploy.evaluation.result_file import encode, read
from slide_deploy.evaluation.run import Wanted, evaluate
from slide_deploy.evaluation.sharding import Shard
from slide_deploy.images.collection import read_collection
from tests.evaluation import pictures

COUNT, CLASSES = 40, 7
WEIGHTS = np.random.default_rng(1).standard_normal((2, 3, CLASSES))


def by_the_batch(colours: np.ndarray) -> np.ndarray:
    """Outputs that depend on the whole batch, as those of scales that are measured at run time."""
    return (colours - colours.mean(axis=0)) @ WEIGHTS[0]


FILES = [
    pictures.classifier(lambda colours: (colours - 128) @ WEIGHTS[0], "plain.onnx"),
    pictures.classifier(by_the_batch, "dynamic.onnx"),
    pictures.classifier(lambda colours: (colours - 128) @ WEIGHTS[1], "fixed.xml", batch=3),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.many(tmp_path_factory.mktemp("data"), COUNT, CLASSES)


def run(data: Path, **wanted: object) -> Record:
    return evaluate(FILES, read_collection(data), Wanted(**wanted))  # type: ignore[arg-type]


def shards(data: Path, count: int, **wanted: object) -> dict[str, Record]:
    return {
        f"{index}.json": run(data, shard=Shard(index, count), **wanted)
        for index in range(1, count + 1)
    }


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    batch=st.integers(1, 12),
    sample=st.none() | st.integers(1, COUNT),
    order=st.randoms(use_true_random=False),
)
def test_shards_joined_are_the_whole(
    data: Path, count: int, batch: int, sample: int | None, order: random.Random
) -> None:
    parts = list(shards(data, count, batch=batch, sample=sample).items())
    order.shuffle(parts)
    whole = run(data, batch=batch, sample=sample)
    joined = merge(dict(parts))
    assert joined == whole
    assert rows_of(joined) == rows_of(whole)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 30))
def test_shards_are_disjoint_and_complete(count: int, batch: int, parts: int) -> None:
    members = [
        [place for each in shard.batches(count, batch) for place in each]
        for shard in (Shard(index, parts) for index in range(1, parts + 1))
    ]
    assert sorted(place for each in members for place in each) == list(range(count))
    sizes = [Shard(index, parts).size(count, batch) for index in range(1, parts + 1)]
    assert sizes == list(map(len, members))


def test_figures_are_those_of_a_count_by_hand(data: Path) -> None:
    whole = run(data)
    assert len(whole.places) == COUNT - len(range(4, COUNT, 9))
    assert {each.name for each in whole.damaged} >= {"4/004.png"}
    collection = read_collection(data)
    right, top5 = 0, 0
    for place in whole.places:
        image = FILES[0].taken.load(collection.pictures[place].path)
        logits = ((image.mean(axis=(2, 3)) - 128) @ WEIGHTS[0])[0]
        order = np.argsort(-logits)
        truth = int(collection.pictures[place].name.split("/")[0])
        right += int(order[0] == truth)
        top5 += int(truth in order[:5])
    row = rows_of(whole)[0]
    assert row.top1 and row.top5
    assert (row.top1.count, row.top5.count, row.top1.of) == (right, top5, len(whole.places))
    pairs = rows_of(whole)[2].pairs
    third = rows_of(whole)[2].top1
    assert pairs and third
    assert (pairs.both + pairs.second, pairs.both + pairs.first) == (right, third.count)


def test_a_shard_without_pictures_is_a_result_like_others(data: Path, tmp_path: Path) -> None:
    found = run(data, shard=Shard(9, 9), batch=12)
    assert found.places == ()
    path = tmp_path / "9.json"
    path.write_text(encode(found))
    assert read(path) == found
    assert json.loads(path.read_text())["summary"][0]["top1"]["value"] is None


def test_a_result_is_read_as_it_was_written(data: Path, tmp_path: Path) -> None:
    found = run(data, sample=10, seed=3)
    path = tmp_path / "result.json"
    path.write_text(encode(found))
    assert read(path) == found


CHANGES = {
    "other images": lambda each: replace(each, data=replace(each.data, sha256="0")),
    "other files": lambda each: replace(
        each, files=tuple(replace(file, sha256="0") for file in each.files)
    ),
    "another baseline": lambda each: replace(each, trained=True),
    "other runtimes": lambda each: replace(
        each, files=tuple(replace(file, version="2") for file in each.files)
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_shards_of_something_else_are_refused(data: Path, what: str) -> None:
    parts = shards(data, 2)
    parts["2.json"] = CHANGES[what](parts["2.json"])
    with pytest.raises(InputError, match=f"2.json has {what} than 1.json: merge the shards"):
        merge(parts)


def test_shards_of_another_division_are_refused(data: Path) -> None:
    first = run(data, shard=Shard(1, 2))
    with pytest.raises(InputError, match="another number of shards"):
        merge({"a": first, "b": run(data, shard=Shard(2, 3))})
    with pytest.raises(InputError, match="other batches"):
        merge({"a": first, "b": run(data, shard=Shard(2, 2), batch=4)})


def test_double_and_missing_shards_are_named(data: Path) -> None:
    parts = shards(data, 4)
    with pytest.raises(InputError, match=r"Shards 2, 4 of 4 are missing"):
        merge({name: parts[name] for name in ("1.json", "3.json")})
    with pytest.raises(InputError, match=r"Shard 4 of 4 is missing"):
        merge({name: parts[name] for name in ("1.json", "3.json", "2.json")})
    with pytest.raises(InputError, match=r"again.json and 1.json both hold shard 1"):
        merge({**parts, "again.json": parts["1.json"]})
    with pytest.raises(InputError, match="nothing to merge"):
        merge({})


def test_the_folder_may_lie_elsewhere_on_another_machine(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(data)
    first = run(data, shard=Shard(1, 2))
    second = run(tmp_path / "elsewhere", shard=Shard(2, 2))
    whole, joined = run(data), merge({"a": first, "b": second})
    # What cannot be read is named with its path on the machine that tried.
    assert joined.files == whole.files
    assert [each.place for each in joined.damaged] == [each.place for each in whole.damaged]


DAMAGE = {
    "": "not valid JSON",
    "[]": "it has other fields",
    '{"version": 1}': "it has other fields",
    '{"version": 2, "summary": [], "record": {}}': "has format version 2",
    '{"version": 1, "summary": [], "record": {}}': "tool is missing",
    "[" * 100_000: "not valid JSON",
    '{"version": 1, "summary": NaN, "record": {}}': "not valid JSON",
}


@pytest.mark.parametrize("text", DAMAGE)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError, match=DAMAGE[text]):
        read(path)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("parts", [3], "a shard beyond 1"),
        ("parts", [], "not in order"),
        ("places", [0], "do not match its shards"),
        ("batch", 0, "out of range"),
        ("shards", 10**9, "out of range"),
        ("files", [], "no file"),
        ("trained", 1, "trained should be true or false, and is 1"),
        ("more", 1, "more is not a key here; known: tool, data"),
    ],
)
def test_a_record_that_no_run_gives_is_refused(
    data: Path, tmp_path: Path, field: str, value: object, said: str
) -> None:
    path = tmp_path / "result.json"
    document = json.loads(encode(run(data)))
    document["record"][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=said):
        read(path)


def test_figures_that_do_not_follow_are_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    document = json.loads(encode(run(data)))
    ranks = document["record"]["files"][1]["ranks"]
    ranks[0] = 0 if ranks[0] else 1
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="figures do not match its images"):
        read(path)


def rewritten(path: Path, record: Record, change: Callable[[Any], object]) -> Path:
    document = json.loads(encode(record))
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_figures_that_another_machine_rounds_are_the_same(data: Path, tmp_path: Path) -> None:
    found = run(data)

    def rounded(document: Any) -> None:
        share = document["summary"][0]["top1"]
        share["low"] = np.nextafter(share["low"], 1)

    assert read(rewritten(tmp_path / "a.json", found, rounded)) == found
    for key, value in (("low", 0.5), ("count", 1.0), ("low", "0"), ("high", 10**400)):
        path = rewritten(
            tmp_path / "b.json",
            found,
            lambda each, key=key, value=value: each["summary"][0]["top1"].update({key: value}),
        )
        with pytest.raises(InputError, match="figures do not match"):
            read(path)


def test_a_damaged_result_is_told_as_what_it_is(data: Path, tmp_path: Path) -> None:
    path = rewritten(
        tmp_path / "a.json", run(data), lambda each: each["record"]["files"][0]["predicted"].pop()
    )
    with pytest.raises(InputError, match="a file does not have one outcome for each image"):
        read(path)


def test_names_that_are_no_text_can_be_printed(data: Path, tmp_path: Path) -> None:
    def broken(document: Any) -> None:
        document["record"]["files"][0]["name"] = document["summary"][0]["name"] = "\ud800.onnx"

    found = read(rewritten(tmp_path / "a.json", run(data), broken))
    assert found.files[0].name == "?.onnx"
