"""The variants of a file that show the gain of each pass."""

from collections.abc import Sequence
from dataclasses import dataclass

# Passes that every file needs, so that they are not measured.
ALWAYS = ("common_operators",)
ALL, NONE = "all", "none"


@dataclass(frozen=True)
class PassVariant:
    """A file of a network.

    Attributes:
        name: ``all``, ``none``, ``only PASS`` or ``without PASS``.
        passes: Passes that it is written with, in order.
    """

    name: str
    passes: tuple[str, ...]


def only(name: str) -> str:
    """Return the name of the variant with one pass."""
    return f"only {name}"


def without(name: str) -> str:
    """Return the name of the variant with all passes but one."""
    return f"without {name}"


def measured_passes(passes: Sequence[str]) -> tuple[str, ...]:
    """Return the passes of a format that are optional."""
    return tuple(name for name in passes if name not in ALWAYS)


def variants(passes: Sequence[str], each: bool = True) -> tuple[PassVariant, ...]:
    """Return every variant of a format's files.

    Args:
        passes: Passes of the format, in order.
        each: Whether to measure each pass separately, or only all of them together.
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
