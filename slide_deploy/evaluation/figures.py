"""The figures of an evaluation: shares with intervals, and each file against the first."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from slide_deploy.evaluation.classifier import TOP
from slide_deploy.evaluation.record import Outcomes, Record
from slide_deploy.evaluation.statistics import Difference, Pairs, Share, difference, share


@dataclass(frozen=True)
class AccuracyRow:
    """The figures of one file.

    Attributes:
        name: of the file.
        sha256: of the file and what belongs to it.
        runtime: what ran it, and its version.
        top1: pictures whose class it held most probable; None where nobody knows the classes.
        top5: pictures whose class was among its first five; None also where there are no more.
        agreement: pictures for which it names the class that the first file names; None of the
            first file itself.
        change: its top-1 less that of the first file; None where there is none to compare.
        pairs: on how many pictures it alone, the first alone, both or neither are right; None as
            well. ``first`` counts those on which this file alone is right.
        not_finite: pictures for which it gave a number that is not finite; they count as wrong.
    """

    name: str
    sha256: str
    runtime: str
    top1: Share | None
    top5: Share | None
    agreement: Share | None
    change: Difference | None
    pairs: Pairs | None
    not_finite: int


def rows_of(record: Record) -> tuple[AccuracyRow, ...]:
    """The figures of each file, in the order of the record."""
    first = record.files[0]
    return tuple(_row(record, each, None if each is first else first) for each in record.files)


def _row(record: Record, file: Outcomes, first: Outcomes | None) -> AccuracyRow:
    count = len(record.places)
    known = record.has_classes
    top1 = share(sum(rank == 0 for rank in file.ranks), count) if known else None
    graded = known and record.data.classes > TOP
    top5 = share(sum(rank < TOP for rank in file.ranks), count) if graded else None
    agreement = change = pairs = None
    if first is not None:
        same = sum(
            ours == theirs >= 0
            for ours, theirs in zip(file.predicted, first.predicted, strict=True)
        )
        agreement = share(same, count)
        if known:
            pairs = _pairs(file, first)
            change = difference(pairs)
    return AccuracyRow(
        name=file.name,
        sha256=file.sha256,
        runtime=f"{file.runtime} {file.version}",
        top1=top1,
        top5=top5,
        agreement=agreement,
        change=change,
        pairs=pairs,
        not_finite=sum(each < 0 for each in file.predicted),
    )


def _pairs(ours: Outcomes, theirs: Outcomes) -> Pairs:
    counts = {(mine, other): 0 for mine in (True, False) for other in (True, False)}
    for mine, other in zip(ours.ranks, theirs.ranks, strict=True):
        counts[mine == 0, other == 0] += 1
    return Pairs(
        both=counts[True, True],
        first=counts[True, False],
        second=counts[False, True],
        neither=counts[False, False],
    )


def summary_of(record: Record) -> list[dict[str, Any]]:
    """The rows as plain data that JSON can hold; null in the place of a share of no picture."""
    return [_finite(asdict(row)) for row in rows_of(record)]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
