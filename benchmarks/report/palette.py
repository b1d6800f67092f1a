"""Colours, each for a light and a dark page.

The series follow Okabe and Ito (2008), told apart with every common colour blindness; they are
darkened for white and lightened for black until each has a contrast of 3 to 1 at least.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One role in both themes, as ``#rrggbb``."""

    light: str
    dark: str


PAGE = Colour("#fbfbf9", "#15171a")
SURFACE = Colour("#ffffff", "#1c1f23")
INK = Colour("#1d2126", "#e7e9ec")
MUTED = Colour("#5d6670", "#9ba4ae")
LINE = Colour("#e3e5e8", "#31363c")
WARNING = Colour("#8a5300", "#f0b860")
FAILURE = Colour("#b3261e", "#ff8f85")

SERIES = (
    Colour("#0072b2", "#5ab0e8"),
    Colour("#d05a00", "#f2894a"),
    Colour("#008a68", "#35c79a"),
    Colour("#b8528c", "#e5a3cb"),
    Colour("#9c7400", "#e3bb4d"),
    Colour("#5e4fb3", "#a79cf2"),
    Colour("#6b7178", "#a9b0b8"),
)

_ROLES = (PAGE, SURFACE, INK, MUTED, LINE, WARNING, FAILURE)


def series(number: int) -> Colour:
    """The colour of a candidate, by its number from 1."""
    return SERIES[(number - 1) % len(SERIES)]


def to_dark() -> dict[str, str]:
    """Each light colour's dark one: figures hold light colours, the page exchanges them."""
    return {colour.light: colour.dark for colour in (*_ROLES, *SERIES)}
