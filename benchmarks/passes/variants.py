"""Which passes a file is written with, to find out what each of them gives."""

from collections.abc import Sequence
from dataclasses import dataclass

# What every file needs to be written at all, and none is measured without.
ALWAYS = ("common_operators",)
ALL, NONE = "all", "none"


@dataclass(frozen=True)
class PassVariant:
    """A file of a network.

    Attributes:
        name: ``all``, ``none``, ``only PASS`` or ``without PASS``.
        passes: that it is written with, in order.
    """

    name: str
    passes: tuple[str, ...]


def only(name: str) -> str:
    """The variant with one pass."""
    return f"only {name}"


def without(name: str) -> str:
    """The variant with all passes but one."""
    return f"without {name}"


def measured_passes(passes: Sequence[str]) -> tuple[str, ...]:
    """Those of a format's passes that a file can be written without."""
    return tuple(name for name in passes if name not in ALWAYS)


def variants(passes: Sequence[str], each: bool = True) -> tuple[PassVariant, ...]:
    """Every variant of a format's files.

    Args:
        passes: of the format, in order.
        each: whether each pass is of interest, or all of them together only.
    """

    def kept(*names: str) -> tuple[str, ...]:
        return tuple(each for each in passes if each in names or each in ALWAYS)

    measured = measured_passes(passes)
    together = (PassVariant(ALL, tuple(passes)), PassVariant(NONE, kept()))
    if not each:
        return together
    return (
        *together,
        *(PassVariant(only(name), kept(name)) for name in measured),
        *(
            PassVariant(without(name), kept(*(each for each in measured if each != name)))
            for name in measured
        ),
    )
