"""Returns operators to float, the noisiest first, until a file keeps its accuracy limit.

1. The file is made with every operator quantised. If it keeps the limits, the search ends.
2. Operators are ranked by their noise: the signal-to-noise ratio of the outputs, on the examples
   held back, if only this operator is quantised.
3. The search finds the smallest number of the noisiest operators that must return: it tries 1, 2, 4
   and so on until the limits are kept, then bisects between the last two. It assumes that returning
   more noisy operators never costs accuracy. Chance can violate this, so the final file is made and
   measured again.

Each attempt is a separate file in a temporary folder, because runtimes may still map an older file.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters.price import Price, Returned
from exporters.quantisation.judge import Judge
from exporters.quantisation.making import Making
from slide_deploy.terminal.progress import expect
from slide_deploy.verification.parity import Verification

# Number of calibration examples for the ranking, which makes many files. The order of the operators
# needs no more.
_RANKED_ON = 16


@dataclass(frozen=True)
class AccuracyTrial:
    """How a file is measured.

    Attributes:
        judge: measures the accuracy of a file.
        verify: verifies a file against the network on the examples held back.
        layers: the network's layer of each operator, by the name of the operator.
        progress: called with each step as it starts.
    """

    judge: Judge
    verify: Callable[[Path], Verification]
    layers: Mapping[str, str]
    progress: Callable[[str], None]


def keep_drop(making: Making, operators: Sequence[str], trial: AccuracyTrial) -> Price:
    """Make a file again until it keeps its limits, with as many quantised operators as possible.

    Args:
        making: how the file is made; it exists with every operator quantised.
        operators: names of the quantised operators, in the order of the file.
        trial: how the file is measured.

    Returns:
        The accuracy loss of the final file. If no choice keeps the limit, the loss exceeds it and
        all operators but one are floats.

    Raises:
        InputError: if a file cannot be made or run.
    """
    format = making.exporter.format
    expect(trial.progress, 1)
    trial.progress(f"evaluate {format} on {len(trial.judge.pictures.pictures)} images")
    first = _price(making.target, (), len(operators), trial)
    if _is_kept(first, making.target, trial):
        return first
    ranked = _ranked(making, operators, trial)

    def keeps(count: int) -> bool:
        returned = ranked[:count]
        expect(trial.progress, 1)
        trial.progress(f"evaluate {format} with {count} of {len(ranked)} operators in float")
        with _temporary_folder(making) as folder:
            tried = _within(making, folder)
            tried.make([each.operator for each in returned])
            price = _price(tried.target, returned, len(ranked), trial)
            return _is_kept(price, tried.target, trial)

    most = len(ranked) - 1  # an int8 file needs at least one quantised operator
    count = fewest(most, keeps)
    returned = ranked[: most if count is None else count]
    making.make([each.operator for each in returned])
    return _price(making.target, returned, len(ranked), trial)


def fewest(most: int, keeps: Callable[[int], bool]) -> int | None:
    """Return the smallest number from 1 to ``most`` that keeps a limit.

    Args:
        most: the largest number.
        keeps: returns whether a number keeps the limit; assumed to hold for all larger numbers.
            Each call is expensive.

    Returns:
        The number; None if no number keeps the limit.
    """
    too_few, tried = 0, 1
    while True:
        tried = min(tried, most)
        if tried <= too_few:
            return None
        if keeps(tried):
            break
        too_few, tried = tried, 2 * tried
    enough = tried
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if keeps(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _ranked(making: Making, operators: Sequence[str], trial: AccuracyTrial) -> tuple[Returned, ...]:
    """Return every operator with the noise that it causes alone, the noisiest first."""
    measured = replace(making, examples=making.examples[:_RANKED_ON])
    expect(trial.progress, len(operators))
    found = []
    for place, operator in enumerate(operators, start=1):
        layer = trial.layers.get(operator, "")
        trial.progress(f"noise of {layer or operator}, {place} of {len(operators)}")
        with _temporary_folder(making) as folder:
            alone = _within(measured, folder)
            alone.make([each for each in operators if each != operator])
            found.append(Returned(operator, layer, trial.verify(alone.target).worst.snr_db))
    return tuple(sorted(found, key=_noise))


def _noise(operator: Returned) -> float:
    """Return the sort key of an operator; outputs that are not finite come first."""
    return -math.inf if math.isnan(operator.snr_db) else operator.snr_db


def _price(
    path: Path, returned: tuple[Returned, ...], operators: int, trial: AccuracyTrial
) -> Price:
    found, judge = trial.judge.outcome(path), trial.judge
    return Price(
        max_drop=judge.max_drop,
        data=str(judge.pictures.source),
        pictures=found.top1.of,
        trained=judge.trained.top1.count,
        right=found.top1.count,
        quantised=operators - len(returned),
        returned=returned,
        damaged=len(found.damaged),
    )


def _is_kept(price: Price, path: Path, trial: AccuracyTrial) -> bool:
    """Return whether a file keeps the requested limit and those of its precision."""
    return price.passed and trial.verify(path).passed


def _temporary_folder(making: Making) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=making.source.parent, ignore_cleanup_errors=True)


def _within(making: Making, folder: str) -> Making:
    return replace(making, target=Path(folder) / making.target.name)
