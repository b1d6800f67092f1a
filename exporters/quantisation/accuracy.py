"""Operators return to float, worst first, until a file loses no more than it may.

1. The file is made with every operator quantised. If it keeps the limits, nothing else is done.
2. The noise of an operator is what the answers lose if it alone is quantised: their signal-to-noise
   ratio on the examples held back. Operators are ranked by it.
3. The least number of the worst is searched that must return: 1, 2, 4 and so on until the limits
   are kept, and then between the last two by halves. Fewer noisy operators never cost more, but for
   chance: what was found is made once more and judged as any other file.

Each try is a file of its own, in a folder that goes with it: runtimes may still map an older one.
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

# Examples on which ranges are measured for the ranking, which many files are made for. The order
# of the operators needs no more.
_RANKED_ON = 16


@dataclass(frozen=True)
class AccuracyTrial:
    """What a file is held against.

    Attributes:
        judge: says how often it is right.
        verify: holds its answers against the network's on the examples held back.
        layers: of the network, by the name of the operator.
        progress: told of each step as it starts.
    """

    judge: Judge
    verify: Callable[[Path], Verification]
    layers: Mapping[str, str]
    progress: Callable[[str], None]


def keep_drop(making: Making, operators: Sequence[str], trial: AccuracyTrial) -> Price:
    """Make a file again until it keeps its limits, with as many operators quantised as can be.

    Args:
        making: how the file is made; it was made with every operator quantised.
        operators: names of those, in the order of the file.
        trial: what it is held against.

    Returns:
        What the file loses that is there now. It exceeds the limit if no choice of operators keeps
        it; all but one of them are floats then.

    Raises:
        InputError: if the file cannot be made or run.
    """
    format = making.exporter.format
    expect(trial.progress, 1)
    trial.progress(f"judge {format} on {len(trial.judge.pictures.pictures)} pictures")
    first = _price(making.target, (), len(operators), trial)
    if _is_kept(first, making.target, trial):
        return first
    ranked = _ranked(making, operators, trial)

    def keeps(count: int) -> bool:
        returned = ranked[:count]
        expect(trial.progress, 1)
        trial.progress(f"judge {format} with {count} of {len(ranked)} operators in float")
        with _elsewhere(making) as folder:
            tried = _within(making, folder)
            tried.make([each.operator for each in returned])
            price = _price(tried.target, returned, len(ranked), trial)
            return _is_kept(price, tried.target, trial)

    most = len(ranked) - 1  # a file of floats alone is none of int8
    count = fewest(most, keeps)
    returned = ranked[: most if count is None else count]
    making.make([each.operator for each in returned])
    return _price(making.target, returned, len(ranked), trial)


def fewest(most: int, keeps: Callable[[int], bool]) -> int | None:
    """The least number from 1 to ``most`` that keeps a limit, if all larger ones keep it as well.

    Args:
        most: the largest number.
        keeps: whether a number does; it costs much.

    Returns:
        The number; None if none does.
    """
    too_few, asked = 0, 1
    while True:
        asked = min(asked, most)
        if asked <= too_few:
            return None
        if keeps(asked):
            break
        too_few, asked = asked, 2 * asked
    enough = asked
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if keeps(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _ranked(making: Making, operators: Sequence[str], trial: AccuracyTrial) -> tuple[Returned, ...]:
    """Every operator with the noise that it makes alone, the worst first."""
    measured = replace(making, examples=making.examples[:_RANKED_ON])
    expect(trial.progress, len(operators))
    found = []
    for place, operator in enumerate(operators, start=1):
        layer = trial.layers.get(operator, "")
        trial.progress(f"noise of {layer or operator}, {place} of {len(operators)}")
        with _elsewhere(making) as folder:
            alone = _within(measured, folder)
            alone.make([each for each in operators if each != operator])
            found.append(Returned(operator, layer, trial.verify(alone.target).worst.snr_db))
    return tuple(sorted(found, key=_noise))


def _noise(operator: Returned) -> float:
    """By which operators are ranked; answers that are no numbers come first."""
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
    """Whether a file keeps the limit that was asked for, and those of its precision."""
    return price.passed and trial.verify(path).passed


def _elsewhere(making: Making) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=making.source.parent, ignore_cleanup_errors=True)


def _within(making: Making, folder: str) -> Making:
    return replace(making, target=Path(folder) / making.target.name)
