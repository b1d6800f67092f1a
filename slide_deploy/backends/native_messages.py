"""What native libraries print: error messages as text, and standard error turned off."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_STANDARD_ERROR = 2


def message_lines(error: Exception) -> list[str]:
    """Return the lines of a native library's error message, at least one.

    Such a message quotes names from the file. If a name is not UTF-8, the Python binding raises
    ``UnicodeDecodeError`` in place of the error. The bytes that failed to decode are the message.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode("utf-8", "replace")
    return text.strip().splitlines() or [type(error).__name__]


def line_of(error: Exception, index: int = 0) -> str:
    """Return one line of a runtime's error without its closing punctuation.

    Args:
        error: raised by the runtime.
        index: which of the lines that are not blank, by default the first.
    """
    lines = [line.strip() for line in message_lines(error) if line.strip()]
    return lines[index].rstrip(" .:")


@contextmanager
def muted() -> Iterator[None]:
    """Discard standard error and warnings until the block ends.

    Native code writes to file descriptor 2 directly, which no setting of Python turns off.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:  # the descriptor is closed, so there is nothing to discard
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), _STANDARD_ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
