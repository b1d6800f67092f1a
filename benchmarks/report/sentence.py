"""Sentences that hold names: the words are ours, the names are a stranger's.

A form shows the pieces in turn and escapes each `Name` in its own way.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """A text from a file, as recorded."""

    text: str


Sentence = tuple[str | Name, ...]
