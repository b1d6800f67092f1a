"""Texts that can be printed and written, whatever bytes a name on disk or in a file has."""


def as_text(value: object) -> str:
    """A text that can be printed; a name that is no text on its own system loses those bytes."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def counted(count: int, word: str) -> str:
    """A count with its noun: 1 class, 1,000 classes."""
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"
