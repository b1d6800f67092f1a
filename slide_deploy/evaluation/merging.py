"""Merges the results of shards into the record of a single run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.evaluation.record import Outcomes, Record


def merge(records: Mapping[str, Record]) -> Record:
    """Merge the results of all shards of one data set.

    Args:
        records: the results, by the path that messages name.

    Returns:
        The record of a single run over all images.

    Raises:
        InputError: if data or files differ, or a shard is missing or given twice.
    """
    if not records:
        raise InputError("There is nothing to merge: give the results of all shards.")
    (title, first), *others = records.items()
    for name, record in others:
        _require_same(title, first, name, record)
    _require_every_shard(records)
    several = list(records.values())
    members = sorted(
        (place, number, index)
        for number, record in enumerate(several)
        for index, place in enumerate(record.places)
    )
    order = [(number, index) for _, number, index in members]
    damaged = sorted(
        (each for record in several for each in record.damaged), key=lambda each: each.place
    )
    return replace(
        first,
        shards=1,
        parts=(1,),
        places=tuple(place for place, _, _ in members),
        damaged=tuple(damaged),
        files=tuple(
            _joined([record.files[number] for record in several], order)
            for number in range(len(first.files))
        ),
    )


def _joined(parts: Sequence[Outcomes], order: Sequence[tuple[int, int]]) -> Outcomes:
    """The merged outcomes of one file.

    Args:
        parts: its outcomes in each record.
        order: record number and position of every image, in the order of the data set.
    """
    return replace(
        parts[0],
        predicted=tuple(parts[record].predicted[index] for record, index in order),
        ranks=tuple(parts[record].ranks[index] for record, index in order if parts[record].ranks),
    )


def _require_same(title: str, first: Record, name: str, record: Record) -> None:
    compared: dict[str, Callable[[Record], Any]] = {
        # The folder may have another path on another machine.
        "other images": lambda each: replace(each.data, source="", others=0),
        "other batches": lambda each: each.batch,
        "another number of shards": lambda each: each.shards,
        "other files": lambda each: [(file.sha256, file.prepared) for file in each.files],
        "another baseline": lambda each: each.trained,
        "other runtimes": lambda each: [(file.runtime, file.version) for file in each.files],
    }
    for what, of in compared.items():
        if of(record) != of(first):
            raise InputError(f"{name} has {what} than {title}: merge the shards of one evaluation.")


def _require_every_shard(records: Mapping[str, Record]) -> None:
    owners: dict[int, str] = {}
    for name, record in records.items():
        for part in record.parts:
            if part in owners:
                raise InputError(
                    f"{name} and {owners[part]} both hold shard {part}: leave one of them out."
                )
            owners[part] = name
    count = next(iter(records.values())).shards
    missing = [part for part in range(1, count + 1) if part not in owners]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        are = "Shard {} of {} is" if len(missing) == 1 else "Shards {} of {} are"
        raise InputError(f"{are.format(shown, count)} missing: give the results of all shards.")
