"""Tables of the gains of passes."""

from collections.abc import Sequence
from importlib import import_module

from benchmarks.generated_page import Grid, ratio_cells
from benchmarks.statistics import Estimate
from slide_deploy.terminal.console import figures, texts
from studies.passes.gains import LEAST, PAYS, Gain, PassStanding

RUNTIMES = {"onnxruntime:cpu": "ONNX Runtime", "openvino:cpu": "OpenVINO"}

_STANDINGS = (
    *texts("network", "runtime"),
    *figures("theirs, ms", "ours, ms", "theirs / ours", "from", "to"),
    *texts(""),
    *figures("no pass / all", "from", "to", "same / same"),
)
_GAINS = (
    *texts("pass", "network"),
    *figures("changes", "left out", "from", "to", "alone", "from", "to"),
)
_PASSES = (*texts("pass", "what it does"), *figures("most"), *texts("where", ""))


def standings(found: Sequence[PassStanding]) -> Grid:
    """Return a table of every network on every runtime against other tools."""
    return Grid(
        "Compared with torch.onnx.export and OpenVINO's own conversion of the same trained network",
        _STANDINGS,
        tuple(map(_standing, found)),
        "Ratios of times with 95 % intervals, which include the scatter between processes. "
        f"*Theirs / ours* must be {LEAST:g} or more. *No pass / all* is the gain of all passes "
        "together. *Same / same* compares the file with all passes with itself.",
    )


def _standing(each: PassStanding) -> tuple[str, ...]:
    return (
        each.network,
        RUNTIMES.get(each.target, each.target),
        f"{each.plain_seconds * 1e3:.2f}",
        f"{each.seconds * 1e3:.2f}",
        *ratio_cells(each.against_plain, 3),
        each.verdict,
        *ratio_cells(each.against_none, 3),
        f"{each.noise.value:.3f}",
    )


def passes(names: Sequence[str], found: Sequence[Gain]) -> Grid:
    """Return a table of every pass with its largest gain."""
    return Grid(
        "The passes",
        _PASSES,
        tuple(_pass(name, [each for each in found if each.name == name]) for name in names),
        f"*Most* is the ratio in the tables below whose interval begins highest. As the best of "
        f"many, it is biased upwards. A pass *pays* if a whole interval lies above {PAYS:g}, and "
        "does not pay if no interval reaches that.",
    )


def _pass(name: str, found: Sequence[Gain]) -> tuple[str, ...]:
    does = _first_line(name)
    if any(each.invalid for each in found):
        where = next(each for each in found if each.invalid)
        return name, does, "", _place(where), "no file without it"
    ratios = [
        (ratio, f"{_place(each)}, {how}")
        for each in found
        for how, ratio in (("left out", each.left_out), ("alone", each.alone))
        if ratio is not None
    ]
    if not ratios:
        return name, does, "", "", "changes nothing here"
    most, where_most = max(ratios, key=lambda each: each[0].interval.low)
    return name, does, f"{most.value:.3f}", where_most, verdict([ratio for ratio, _ in ratios])


def verdict(ratios: Sequence[Estimate]) -> str:
    """Return whether a pass pays somewhere, by all its ratios, in words."""
    if any(ratio.interval.low > PAYS for ratio in ratios):
        return "pays"
    may = any(ratio.interval.high > PAYS for ratio in ratios)
    return "cannot tell" if may else "does not pay"


def _place(each: Gain) -> str:
    return f"{each.network} on {RUNTIMES.get(each.target, each.target)}"


def _first_line(name: str) -> str:
    text = import_module(f"slide_deploy.passes.{name}").__doc__ or ""
    return text.strip().partition("\n\n")[0].replace("\n", " ")


def gains(target: str, names: Sequence[str], found: Sequence[Gain]) -> Grid:
    """Return a table of every pass with every network that it changes, on one runtime."""
    here = [each for each in found if each.target == target]
    return Grid(
        f"Gain of each pass on {RUNTIMES.get(target, target)}",
        _GAINS,
        tuple(_gain(each) for name in names for each in here if each.name == name),
        "*Left out* is the time without the pass / the time with all passes. *Alone* is the time "
        "without any pass / the time with this one. Above 1, the pass makes the network faster. A "
        "cell is empty if both files are the same.",
    )


def _gain(each: Gain) -> tuple[str, ...]:
    left_out = ("no file", "", "") if each.invalid else ratio_cells(each.left_out, 3)
    return (
        each.name,
        each.network,
        str(each.changes or ""),
        *left_out,
        *ratio_cells(each.alone, 3),
    )
