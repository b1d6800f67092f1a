"""Colours for light and dark pages.

The series follow Okabe and Ito (2008), which can be distinguished with every common colour
blindness. They are darkened for white and lightened for black to a contrast of at least 3 to 1.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """The colour of one role in both themes, as ``#rrggbb``."""

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
    """Return the colour of a candidate by its number, which starts at 1."""
    return SERIES[(number - 1) % len(SERIES)]


def to_dark() -> dict[str, str]:
    """Map light colours to dark ones. Figures contain light colours, which the page replaces."""
    return {colour.light: colour.dark for colour in (*_ROLES, *SERIES)}
