"""The lowering of an attention, by what was measured.

1. The user's own table, then the one in the wheel: an entry of this very geometry.
2. Else the nearest entry of the target and precision, of either table: among those of the same
   kernel size, where there are such, the one at the smallest distance

       sqrt(log(channels' / channels)^2 + log(positions' / positions)^2 + log(width' / width)^2
            + log(2)^2 where the layouts differ)

   with the width of the heads. Its form is taken, and ``Choice.source`` says if it is not near: of
   another kernel size, or beyond a factor of ``NEAR`` in one of the three. Strips are scaled so
   that one holds as many numbers as it did there:

       strips' = strips * (channels' * positions') / (channels * positions)

   One strip stays one: nothing was seen to gain by cutting. More than ``MAX_SCALED`` are not taken
   unmeasured: the graph grows with every strip, and the time to export it.
3. Where nothing near was measured in the precision, what is near in float32: the small products
   of an attention compute so in every precision.
4. Else the default form of the format that runs on the target. Where it cannot write the attention,
   the canonical form can.

Entries that name a form of another version are passed over, and ``Choice.source`` says so.

An entry of another machine counts as well, as it is better than nothing; ``Choice.source`` says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from slide_deploy.errors import InputError
from slide_deploy.formats import format_named, format_run_on
from slide_deploy.lowerings import DEFAULT_LOWERING, FORMS, Lowering
from slide_deploy.machine import describe, fingerprint
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.precisions import FLOAT32, precision_named
from slide_deploy.tuning.store import Table, known_tables
from slide_deploy.tuning.table import Entry, Geometry

MAX_SCALED = 16
# In the table in the wheel the winner of an entry within this factor is the fastest form here, too;
# beyond it, it may take more than twice as long as the fastest. docs/tuning.md has the figures.
NEAR = 2.0
NOTHING_NEAR = "nothing near was measured: export --tune races the forms"


@dataclass(frozen=True)
class Choice:
    """A lowering and where it came from.

    Attributes:
        lowering: the one to take.
        source: one clause, for the manifest and ``--verbose``.
        entry: the measurement that it rests on; None for a default.
    """

    lowering: Lowering
    source: str
    entry: Entry | None = None


@dataclass(frozen=True)
class TunedChooser:
    """Chooses for each attention of a file; a ``slide_deploy.lowerings.Chooser``.

    Attributes:
        target: where the file will run, for example "onnxruntime:cpu".
        precision: of the file.
        tables: to look into, the first one first.
        map_size: height and width for modules that do not know their own; None if nobody knows.
    """

    target: str
    precision: str
    tables: tuple[Table, ...]
    map_size: tuple[int, int] | None = None

    def __call__(self, folded: FoldedSlideAttention) -> Lowering:
        """The lowering of an attention; it says where it came from."""
        found = self.choice(folded)
        return replace(found.lowering, source=found.source)

    def choice(self, folded: FoldedSlideAttention) -> Choice:
        """The lowering of an attention, and where it came from."""
        size = folded.resolution or self.map_size
        if size is None:
            chosen = _default(self.target, "the size of the map is not known")
        else:
            geometry = geometry_of(folded, size)
            chosen = choose(self.target, self.precision, geometry, self.tables)
        if _fits(folded, chosen.lowering):
            return chosen
        default = _default(self.target, f"{chosen.lowering} cannot write this attention")
        if _fits(folded, default.lowering):
            return default
        return replace(default, lowering=DEFAULT_LOWERING)


def chooser(
    target: str,
    precision: str = "float32",
    map_size: tuple[int, int] | None = None,
    tables: Sequence[Table] | None = None,
) -> TunedChooser:
    """What is asked for each attention of a file.

    Args:
        target: where the file will run; ``slide_deploy.formats`` has those of the formats.
        precision: of the file.
        map_size: height and width for modules that do not know their own.
        tables: to look into; the user's own and the one in the wheel if None.

    Raises:
        InputError: if a table is damaged.
    """
    found = known_tables() if tables is None else tuple(tables)
    return TunedChooser(target, precision, found, map_size)


def for_format(
    format: str, precision: str, map_size: tuple[int, int] | None = None
) -> TunedChooser:
    """What ``--lowering auto`` asks for a file of this format.

    Args:
        format: as the user names it.
        precision: of the file.
        map_size: height and width for modules that do not know their own.

    Raises:
        InputError: if the format is unknown, or a table is damaged.
    """
    return chooser(format_named(format).target, precision, map_size)


def geometry_of(folded: FoldedSlideAttention, map_size: tuple[int, int]) -> Geometry:
    """What the speed of an attention depends on."""
    config = folded.config
    return Geometry(
        channels=config.dim,
        heads=config.num_heads,
        head_dim=config.head_dim,
        kernel_size=config.kernel_size,
        height=map_size[0],
        width=map_size[1],
        layout=folded.layout,
    )


def choose(
    target: str, precision: str, geometry: Geometry, tables: Sequence[Table] | None = None
) -> Choice:
    """The lowering of an attention of this geometry; see the module's description.

    Raises:
        InputError: if a table is damaged.
    """
    tables = known_tables() if tables is None else tables
    measured = [entry for table in tables for entry in table.entries if entry.target == target]
    usable = [entry for entry in measured if entry.winner.split("/")[0] in FORMS]
    found = _chosen_among(usable, target, precision, geometry)
    unusable = len(measured) - len(usable)
    if not unusable:
        return found
    remark = f"{unusable} in the table name a form of another version: run slide-deploy tune again"
    return replace(found, source=f"{found.source}; {remark}")


def _chosen_among(measured: list[Entry], target: str, precision: str, geometry: Geometry) -> Choice:
    """The choice by the entries of a target."""
    counts = precision_named(precision).measured_on(target)
    far: Choice | None = None
    for counted in dict.fromkeys((counts, FLOAT32.name)):
        entries = [entry for entry in measured if entry.precision == counted]
        if not entries:
            continue
        entry = _nearest(entries, geometry)
        remark = "" if counted == counts else f", in {counted}, as nothing is near in {precision}"
        found = _chosen(entry, geometry, remark)
        if is_near(entry.geometry, geometry):
            return found
        far = far or found
    return far or _default(target, "nothing was measured there")


def _chosen(entry: Entry, geometry: Geometry, remark: str) -> Choice:
    """The winner of an entry, for an attention of this geometry."""
    winner, source = Lowering.parse(entry.winner), f"{_source(entry)}{remark}"
    if entry.geometry == geometry:
        return Choice(winner, source, entry)
    source += f", for {entry.geometry}, the nearest geometry"
    if not is_near(entry.geometry, geometry):
        source += f"; {NOTHING_NEAR}"
    scaled = Lowering(winner.form, _scaled(winner.strips, entry.geometry, geometry))
    return Choice(scaled, source, entry)


def sensible_strips(geometry: Geometry) -> int:
    """The most strips that make sense: a strip that is no higher than its halo is read twice."""
    return max(1, geometry.height // max(1, 2 * (geometry.kernel_size // 2)))


def is_near(measured: Geometry, wanted: Geometry) -> bool:
    """Whether what was measured there is a fair guess here."""
    within = math.log(NEAR) + 1e-9  # a factor of exactly two is within, however it is rounded
    return measured.kernel_size == wanted.kernel_size and all(
        abs(factor) <= within for factor in _factors(measured, wanted)
    )


def _nearest(entries: list[Entry], wanted: Geometry) -> Entry:
    for entry in entries:
        if entry.geometry == wanted:
            return entry
    # The work of each form grows in its own way with the neighbourhood.
    alike = [entry for entry in entries if entry.geometry.kernel_size == wanted.kernel_size]
    return min(alike or entries, key=lambda entry: _distance(entry.geometry, wanted))


def _distance(one: Geometry, other: Geometry) -> float:
    layout = 0.0 if one.layout == other.layout else math.log(2)
    return math.hypot(*_factors(one, other), layout)


def _factors(one: Geometry, other: Geometry) -> tuple[float, float, float]:
    """Logarithms of the factors between two geometries."""
    return (
        math.log(one.channels / other.channels),
        math.log(_positions(one) / _positions(other)),
        math.log(one.head_dim / other.head_dim),
    )


def _scaled(strips: int, measured: Geometry, wanted: Geometry) -> int:
    if strips == 1:
        return 1
    numbers = wanted.channels * _positions(wanted) / (measured.channels * _positions(measured))
    most = min(sensible_strips(wanted), max(MAX_SCALED, strips))
    return min(max(1, round(strips * numbers)), most)


def _positions(geometry: Geometry) -> int:
    return geometry.height * geometry.width


def _source(entry: Entry) -> str:
    ours = fingerprint(entry.machine) == _this_machine()
    where = "this machine" if ours else f"another machine ({_processor(entry)})"
    threads = f"{entry.threads} thread{'s' if entry.threads > 1 else ''}"
    return f"measured with {entry.runtime}, {threads}, on {where}, {entry.date[:10]}"


@cache
def _this_machine() -> str:
    return fingerprint(describe())


def _processor(entry: Entry) -> str:
    return entry.machine.get("processor", "an unknown processor")


def _default(target: str, why: str) -> Choice:
    format = format_run_on(target)
    lowering = DEFAULT_LOWERING if format is None else Lowering(format.default_form)
    return Choice(lowering, f"the default for {target}: {why}")


def _fits(folded: FoldedSlideAttention, lowering: Lowering) -> bool:
    """Whether the form can write this attention: not every form can have kernels of each head."""
    try:
        FORMS[lowering.form](folded)
    except InputError:
        return False
    return True
