"""Choose the lowering of an attention from measurements.

1. An entry with exactly this geometry, from the user's table first, then from the shipped table.
2. Otherwise the nearest entry for the target and precision in either table. Entries with the same
   kernel size come first; among them the one at the smallest distance wins:

       sqrt(log(channels' / channels)^2 + log(positions' / positions)^2 + log(width' / width)^2
            + log(2)^2 where the layouts differ)

   Here width is the width of a head. ``Choice.source`` states whether the entry is far: it has
   another kernel size, or one of the three factors exceeds ``NEAR``. The number of strips is scaled
   so that a strip holds as many numbers as in the measurement:

       strips' = strips * (channels' * positions') / (channels * positions)

   One strip stays one, because cutting gave no gain there. Unmeasured strips are limited to
   ``MAX_SCALED``, because the graph and the export time grow with every strip.
3. If no near entry exists for the precision, a near entry in float32: the small matmuls of an
   attention run in float32 in every precision.
4. Otherwise the default form of the format that runs on the target, or the canonical form if the
   default form cannot write the attention.

Entries with a form of another version are skipped. Entries of other machines are used, because they
are better than nothing. ``Choice.source`` states both.
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
# In the shipped table, the winner of an entry within this factor is also the fastest form here.
# Beyond it, the winner may take more than twice as long as the fastest. docs/tuning.md has figures.
NEAR = 2.0
NOTHING_NEAR = "nothing near was measured: export --tune races the forms"


@dataclass(frozen=True)
class Choice:
    """A lowering and the reason for it.

    Attributes:
        lowering: the lowering to use.
        source: the reason, one clause for the manifest.
        entry: the measurement behind the choice; None for a default.
    """

    lowering: Lowering
    source: str
    entry: Entry | None = None


@dataclass(frozen=True)
class TunedChooser:
    """Chooses the lowering of each attention of a file; a ``slide_deploy.lowerings.Chooser``.

    Attributes:
        target: the target that will run the file, for example "onnxruntime:cpu".
        precision: precision of the file.
        tables: tables to search, in this order.
        map_size: height and width of the feature map for modules without a size of their own; None
            if unknown.
    """

    target: str
    precision: str
    tables: tuple[Table, ...]
    map_size: tuple[int, int] | None = None

    def __call__(self, folded: FoldedSlideAttention) -> Lowering:
        """Return the lowering of an attention, with its ``source``."""
        found = self.choice(folded)
        return replace(found.lowering, source=found.source)

    def choice(self, folded: FoldedSlideAttention) -> Choice:
        """Return the lowering of an attention, its reason and its measurement."""
        size = folded.resolution or self.map_size
        if size is None:
            chosen = _default(self.target, "the size of the feature map is not known")
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
    """Return the function that chooses the lowering of each attention of a file.

    Args:
        target: the target that will run the file; ``slide_deploy.formats`` has one for each format.
        precision: precision of the file.
        map_size: height and width of the feature map for modules without a size of their own.
        tables: tables to search; None for the user's table and the shipped one.

    Raises:
        InputError: a table is damaged.
    """
    found = known_tables() if tables is None else tuple(tables)
    return TunedChooser(target, precision, found, map_size)


def for_format(
    format: str, precision: str, map_size: tuple[int, int] | None = None
) -> TunedChooser:
    """Return the chooser that ``--lowering auto`` uses for a file of this format.

    Args:
        format: name of the format.
        precision: precision of the file.
        map_size: height and width of the feature map for modules without a size of their own.

    Raises:
        InputError: the format is unknown, or a table is damaged.
    """
    return chooser(format_named(format).target, precision, map_size)


def geometry_of(folded: FoldedSlideAttention, map_size: tuple[int, int]) -> Geometry:
    """Return the geometry of an attention on a feature map of this height and width."""
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
    """Choose the lowering for a geometry by the rules in the module's docstring.

    Raises:
        InputError: a table is damaged.
    """
    tables = known_tables() if tables is None else tables
    measured = [entry for table in tables for entry in table.entries if entry.target == target]
    usable = [entry for entry in measured if entry.winner.split("/")[0] in FORMS]
    found = _chosen_among(usable, target, precision, geometry)
    unusable = len(measured) - len(usable)
    if not unusable:
        return found
    return replace(
        found,
        source=f"{found.source}; entries with a form of another version were skipped: {unusable}; "
        "run slide-deploy tune again",
    )


def _chosen_among(measured: list[Entry], target: str, precision: str, geometry: Geometry) -> Choice:
    """Choose from the entries of one target."""
    own = precision_named(precision).measured_on(target)
    far: Choice | None = None
    for each in dict.fromkeys((own, FLOAT32.name)):
        entries = [entry for entry in measured if entry.precision == each]
        if not entries:
            continue
        entry = _nearest(entries, geometry)
        remark = "" if each == own else f", in {each}, because nothing near is in {precision}"
        found = _chosen(entry, geometry, remark)
        if is_near(entry.geometry, geometry):
            return found
        far = far or found
    return far or _default(target, "nothing was measured there")


def _chosen(entry: Entry, geometry: Geometry, remark: str) -> Choice:
    """Return the winner of an entry, with its strips scaled to a geometry."""
    winner, source = Lowering.parse(entry.winner), f"{_source(entry)}{remark}"
    if entry.geometry == geometry:
        return Choice(winner, source, entry)
    source += f", for {entry.geometry}, the nearest geometry"
    if not is_near(entry.geometry, geometry):
        source += f"; {NOTHING_NEAR}"
    scaled = Lowering(winner.form, _scaled(winner.strips, entry.geometry, geometry))
    return Choice(scaled, source, entry)


def sensible_strips(geometry: Geometry) -> int:
    """Return the largest useful number of strips: each is at least as high as its two halos."""
    return max(1, geometry.height // max(1, 2 * (geometry.kernel_size // 2)))


def is_near(measured: Geometry, wanted: Geometry) -> bool:
    """Whether a measurement of one geometry predicts the fastest form of another."""
    within = math.log(NEAR) + 1e-9  # a factor of exactly two is near despite rounding
    return measured.kernel_size == wanted.kernel_size and all(
        abs(factor) <= within for factor in _factors(measured, wanted)
    )


def _nearest(entries: list[Entry], wanted: Geometry) -> Entry:
    for entry in entries:
        if entry.geometry == wanted:
            return entry
    # The cost of each form grows differently with the kernel size.
    same_kernel = [entry for entry in entries if entry.geometry.kernel_size == wanted.kernel_size]
    return min(same_kernel or entries, key=lambda entry: _distance(entry.geometry, wanted))


def _distance(one: Geometry, other: Geometry) -> float:
    layout = 0.0 if one.layout == other.layout else math.log(2)
    return math.hypot(*_factors(one, other), layout)


def _factors(one: Geometry, other: Geometry) -> tuple[float, float, float]:
    """Return the logarithms of the ratios of channels, positions and head widths."""
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
    """Whether the form can write this attention; some forms need one kernel for all heads."""
    try:
        FORMS[lowering.form](folded)
    except InputError:
        return False
    return True
