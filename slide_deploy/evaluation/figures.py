"""The figures of an evaluation: accuracies with intervals, and each file against the baseline."""

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from slide_deploy.evaluation.classifier import TOP
from slide_deploy.evaluation.record import Outcomes, Record
from slide_deploy.evaluation.statistics import Difference, Pairs, Share, difference, share


@dataclass(frozen=True)
class AccuracyRow:
    """The figures of one file.

    Attributes:
        name: name of the file.
        sha256: hash of the file and its companions.
        runtime: the runtime that ran it, and its version.
        top1: share of images whose class scored highest; None if the classes are unknown.
        top5: share of images whose class was among the five highest scores; None also if there are
            at most five classes.
        agreement: share of images that it classifies like the baseline; None for the baseline.
        change: top-1 minus that of the baseline; None if there is nothing to compare.
        pairs: images on which this file (``first``) and the baseline (``second``) are correct; None
            if there is nothing to compare.
        not_finite: number of images with a score that is not finite; they count as wrong.
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
    ranks = zip(ours.ranks, theirs.ranks, strict=True)
    counts = Counter((mine == 0, other == 0) for mine, other in ranks)
    return Pairs(
        both=counts[True, True],
        first=counts[True, False],
        second=counts[False, True],
        neither=counts[False, False],
    )


def summary_of(record: Record) -> list[dict[str, Any]]:
    """The rows as plain data for JSON; null in the place of NaN."""
    return [_finite(asdict(row)) for row in rows_of(record)]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
