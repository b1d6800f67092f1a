"""Text from result files, which is untrusted, and sentences that contain such text."""

from dataclasses import dataclass

from slide_deploy.graph_checks.readers.limits import short

# Long enough for every genuine name and error.
_MOST = 400


@dataclass(frozen=True)
class Name:
    """A text from a file, as recorded."""

    text: str


# Pieces in order. Each output format escapes the `Name`s in its own way.
Sentence = tuple[str | Name, ...]


def clean(text: str, limit: int = _MOST) -> str:
    """Return one line of printable characters. Control and bidirectional characters become ?."""
    return short(" ".join(text.split()), limit)


def clip(text: str, limit: int) -> str:
    """Shorten a text in the middle, as file names differ at their ends."""
    text = clean(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[head + 1 - limit :]}"
