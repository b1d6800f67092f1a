"""Texts that can be printed and written, whatever bytes a name on disk or in a file has."""

import sys


def printable(text: str) -> str:
    """A text without what terminals act on: escapes, controls, marks that turn the direction.

    Each such character becomes a question mark; blanks of all kinds and line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" or (each.isspace() and each > "\x9f") else "?"
        for each in text
    )


def say(text: str, err: bool = False) -> None:
    """Print a line that may hold names out of files, on standard output or standard error."""
    print(printable(text), file=sys.stderr if err else sys.stdout, flush=True)


def as_text(value: object) -> str:
    """A text that can be printed; a name that is no text on its own system loses those bytes."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def counted(count: int, word: str) -> str:
    """A count with its noun: 1 class, 1,000 classes."""
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"
