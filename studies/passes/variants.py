"""The variants of a file that show the gain of each pass."""

from collections.abc import Sequence

# Passes that every file needs, so that they are not measured.
ALWAYS = ("common_operators",)
ALL, NONE = "all", "none"


def only(name: str) -> str:
    """Return the name of the variant with one pass."""
    return f"only {name}"


def without(name: str) -> str:
    """Return the name of the variant with all passes but one."""
    return f"without {name}"


def measured_passes(passes: Sequence[str]) -> tuple[str, ...]:
    """Return the passes of a format that are optional."""
    return tuple(name for name in passes if name not in ALWAYS)


def variants(passes: Sequence[str], each: bool = True) -> dict[str, tuple[str, ...]]:
    """Return the passes that each variant of a format's files is written with, by its name.

    Args:
        passes: Passes of the format, in order.
        each: Whether to measure each pass separately, or only all of them together.
    """
    measured = measured_passes(passes)
    kept = {ALL: measured, NONE: ()}
    if each:
        kept |= {only(name): (name,) for name in measured}
        kept |= {
            without(name): tuple(other for other in measured if other != name) for name in measured
        }
    return {
        variant: tuple(name for name in passes if name in names or name in ALWAYS)
        for variant, names in kept.items()
    }
