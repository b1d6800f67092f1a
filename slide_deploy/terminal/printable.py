"""Text that is safe to print and write, whatever a file name or a file contains."""

import sys


def printable(text: str) -> str:
    """Replace characters that control a terminal by question marks.

    These are escapes, control characters and marks that change the direction of text. Spaces of all
    kinds and line breaks remain.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" or (each.isspace() and each > "\x9f") else "?"
        for each in text
    )


def echo(text: str, err: bool = False) -> None:
    """Print a line, which may contain names from files, on standard output or standard error."""
    print(printable(text), file=sys.stderr if err else sys.stdout, flush=True)


def as_text(value: object) -> str:
    """Format a value for printing; bytes of a file name that are not valid text become "?"."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def counted(count: int, word: str) -> str:
    """Format a count with its noun: 1 class, 1,000 classes."""
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"
