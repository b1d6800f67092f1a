"""Texts of strangers, fit to be shown: one line, nothing invisible, not longer than it may be."""

from slide_deploy.graph_checks.readers.limits import short

# Long enough for every honest name and error.
_MOST = 400


def clean(text: str, limit: int = _MOST) -> str:
    """One line of printable characters; what controls a terminal or turns text around becomes ?."""
    return short(" ".join(text.split()), limit)


def clip(text: str, limit: int) -> str:
    """The text with its middle left out: names of files differ at their ends."""
    text = clean(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[head + 1 - limit :]}"
