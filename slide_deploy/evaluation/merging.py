"""Results of shards put together: the outcomes of all pictures, as one run would have them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.evaluation.record import Outcomes, Record


def merge(records: Mapping[str, Record]) -> Record:
    """Join the results of all shards of one data set.

    Args:
        records: by what messages call them, their paths.

    Returns:
        What one run over all pictures records.

    Raises:
        InputError: if they are of different data or files, or a shard is missing or there twice.
    """
    if not records:
        raise InputError("There is nothing to merge: name the results of all shards.")
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
    """The outcomes of one file.

    Args:
        parts: from each record.
        order: record and index of every picture, in the order of the data.
    """
    return replace(
        parts[0],
        predicted=tuple(parts[record].predicted[index] for record, index in order),
        ranks=tuple(parts[record].ranks[index] for record, index in order if parts[record].ranks),
    )


def _require_same(title: str, first: Record, name: str, record: Record) -> None:
    asked = {
        "other pictures": _of_data,
        "other batches": lambda each: each.batch,
        "another number of shards": lambda each: each.shards,
        "other files": lambda each: [(file.sha256, file.prepared) for file in each.files],
        "another baseline": lambda each: each.trained,
        "other runtimes": lambda each: [(file.runtime, file.version) for file in each.files],
    }
    for what, of in asked.items():
        if of(record) != of(first):
            raise InputError(
                f"{name} is of {what} than {title}: merge the shards of one evaluation."
            )


def _of_data(record: Record) -> Any:
    # Another machine may have the folder elsewhere.
    return replace(record.data, source="", others=0)


def _require_every_shard(records: Mapping[str, Record]) -> None:
    owners: dict[int, str] = {}
    for name, record in records.items():
        for part in record.parts:
            if part in owners:
                raise InputError(
                    f"{name} and {owners[part]} both hold shard {part}: name one of them."
                )
            owners[part] = name
    count = next(iter(records.values())).shards
    missing = [part for part in range(1, count + 1) if part not in owners]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        are = "shard {} of {} is" if len(missing) == 1 else "shards {} of {} are"
        raise InputError(
            f"The results lack some: {are.format(shown, count)} missing; name the results of all."
        )
