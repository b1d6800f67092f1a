"""Interpretation of option values, from the command line or from Python."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import format_names, known_formats

if TYPE_CHECKING:
    from slide_deploy.lowerings import FileChooser, Lowering

# The format name that stands for all installed formats.
ALL = "all"
# The lowering that selects the form measured fastest.
AUTO = "auto"
# Libraries that evaluate benchmark results.
_BENCH = ("scipy", "platformdirs", "plotly", "jinja2")


def require(library: str, extra: str) -> None:
    """Check that a library is installed.

    Raises:
        MissingExtra: if it is not; the message has the command that installs it.
    """
    if find_spec(library) is None:
        raise MissingExtra(library, extra)


def missing_extra(error: ImportError) -> MissingExtra | None:
    """Return the error for a failed import of an optional library; None for other imports.

    Args:
        error: the error of the import.
    """
    name = (error.name or "").partition(".")[0]
    if name in _BENCH:
        return MissingExtra(name, "bench")
    if name == "torch":  # every extra of a format installs it
        return MissingExtra(name, "all")
    for format in known_formats():
        if name in format.packages:
            return MissingExtra(name, format.extra)
    return None


def require_bench() -> None:
    """Check that the libraries that evaluate benchmark results are installed.

    Raises:
        MissingExtra: if a library is not installed.
    """
    for library in _BENCH:
        require(library, "bench")


def parse_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the formats named in texts such as "onnx", "ONNX,openvino" or "all", each once.

    "all" stands for the formats that can be written here, except previews.

    Raises:
        InputError: if a format is unknown.
    """
    known = format_names()
    finished = [each for each in known_formats() if not each.is_preview]
    # If none can be written, the first one raises the error that says what to install.
    written_here = [each for each in finished if each.is_installed] or finished
    all_formats = tuple(each.name for each in written_here)
    found: list[str] = []
    for text in texts:
        for name in text.split(","):
            format = name.strip().lower()
            if format not in (*known, ALL):
                raise InputError(
                    f"{name.strip() or f'--to {text}'} is not a format: choose one of "
                    f"{', '.join(known)}, or give {ALL} for those that are installed."
                )
            found += all_formats if format == ALL else (format,)
    return tuple(dict.fromkeys(found))


def read_lowering(text: str, map_size: tuple[int, int] | None = None) -> "Lowering | FileChooser":
    """Return the lowering of ``--lowering``, or of ``lowering`` in a suite.

    Args:
        text: "auto", or a form and its strips, such as "flat/4".
        map_size: height and width of the feature map, for attentions without a known size.

    Raises:
        InputError: if the text is neither.
    """
    from slide_deploy.lowerings import Lowering

    if text.lower() != AUTO:
        return Lowering.parse(text.lower())
    from slide_deploy.tuning.choice import for_format

    return partial(for_format, map_size=map_size)
