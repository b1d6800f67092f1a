"""What the words of a user mean, whether options of the command line or arguments in Python."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import format_names, known_formats

if TYPE_CHECKING:
    from slide_deploy.graph_checks import Policy
    from slide_deploy.lowerings import FileChooser, Lowering

# All formats.
ALL = "all"
# The lowering that is chosen by measurement.
AUTO = "auto"
# Libraries that look at results.
_BENCH = ("scipy", "platformdirs", "plotly", "jinja2")


def require(library: str, extra: str) -> None:
    """Refuse to go on without a library, with the command that brings it.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec(library) is None:
        raise MissingExtra(library, extra)


def missing_extra(error: ImportError) -> MissingExtra | None:
    """What brings the library that an import failed for; None if that is none of ours.

    Args:
        error: of the import.
    """
    name = (error.name or "").partition(".")[0]
    if name in _BENCH:
        return MissingExtra(name, "bench")
    if name == "torch":  # every extra that writes brings it
        return MissingExtra(name, "all")
    for format in known_formats():
        if name in format.packages:
            return MissingExtra(name, format.extra)
    return None


def require_bench() -> None:
    """Refuse to go on without the libraries that look at results.

    Raises:
        MissingExtra: if one is not installed.
    """
    for library in _BENCH:
        require(library, "bench")


def parse_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Formats of "onnx", "ONNX,openvino" or "all", each once.

    Those of "all" are the formats that can be written here, previews apart.

    Raises:
        InputError: if one is unknown.
    """
    known = format_names()
    finished = [each for each in known_formats() if not each.is_preview]
    # Where none can, the first one says what to install.
    written_here = [each for each in finished if each.is_installed] or finished
    all_formats = tuple(each.name for each in written_here)
    found: list[str] = []
    for text in texts:
        for name in text.split(","):
            format = name.strip().lower()
            if format not in (*known, ALL):
                raise InputError(
                    f"{name.strip() or f'--to {text}'} is not a format: choose one of "
                    f"{', '.join(known)}, or those that are installed as {ALL}."
                )
            found += all_formats if format == ALL else (format,)
    return tuple(dict.fromkeys(found))


def read_policy(name: str | None) -> "Policy | None":
    """What ``--policy`` names: one that is built in, or a file; None where it names nothing.

    Raises:
        InputError: if the file cannot be used.
    """
    from slide_deploy.graph_checks import named_policy

    return None if name is None else named_policy(name)


def read_lowering(text: str, map_size: tuple[int, int] | None = None) -> "Lowering | FileChooser":
    """What ``--lowering`` and the ``lowering`` of a suite mean.

    Args:
        text: "auto", or a form and its strips.
        map_size: height and width of the map, for attentions that do not know it themselves.

    Raises:
        InputError: if it is neither.
    """
    from slide_deploy.lowerings import Lowering

    if text.lower() != AUTO:
        return Lowering.parse(text.lower())
    from slide_deploy.tuning.choice import for_format

    return partial(for_format, map_size=map_size)
