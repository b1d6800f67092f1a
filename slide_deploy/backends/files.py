"""What every target asks of a file and a configuration before it loads anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from slide_deploy.backends.base import message_lines
from slide_deploy.errors import InputError
from slide_deploy.files.model_files import require_model_file


def refuse_unusable(path: Path, target: str, suffixes: Sequence[str]) -> None:
    """Refuse a file that is missing or of a kind that the target does not run.

    Raises:
        InputError: if so.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path} is no file for {target}: give one that ends in {_or(suffixes)}.")
    require_model_file(path)


def refuse_precision(target: str, precision: str, able: Sequence[str], remark: str) -> None:
    """Refuse a precision that a target cannot compute in.

    Args:
        target: its name.
        precision: that the configuration asks for.
        able: what the target can do.
        remark: why, and what to do instead; the end of the sentence.

    Raises:
        InputError: if ``precision`` is not one of ``able``.
    """
    if precision not in able:
        raise InputError(f"{target} takes the precision {_or(able)}, not {precision}: {remark}.")


def refuse_options(target: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that the runtime does not have: it might ignore them.

    Raises:
        InputError: if one of ``given`` is not in ``known``.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise InputError(f"{target} has no option {name}: {has}.")


def line_of(error: Exception, index: int = 0) -> str:
    """One line of a runtime's error: the first, unless the runtime says it elsewhere."""
    lines = [line.strip() for line in message_lines(error) if line.strip()]
    return lines[index].rstrip(" .:")


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
