"""Checks of a file and a configuration that every target makes before it loads anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.model_files import require_model_file


def refuse_unusable(path: Path, target: str, suffixes: Sequence[str]) -> None:
    """Refuse a file that is missing or whose suffix the target does not run.

    Raises:
        InputError: if the file is refused.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path} is no file for {target}: give one that ends in {_or(suffixes)}.")
    require_model_file(path)


# The precisions of a runtime that computes in the types of the file, and why there are no others.
AS_HELD = ("float32", "default")
_REMARK = "it computes in the types that the file holds, so export it in that precision"


def refuse_precision(
    target: str, precision: str, able: Sequence[str] = AS_HELD, remark: str = _REMARK
) -> None:
    """Refuse a precision that a target cannot compute in.

    Args:
        target: its name.
        precision: of the configuration.
        able: the precisions that the target can compute in.
        remark: why it cannot, and what to do instead; the end of the sentence.

    Raises:
        InputError: if ``precision`` is not one of ``able``.
    """
    if precision not in able:
        raise InputError(f"{target} takes the precision {_or(able)}, not {precision}: {remark}.")


def refuse_options(target: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that the runtime does not have, because it might ignore them silently.

    Raises:
        InputError: if one of ``given`` is not in ``known``.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise InputError(f"{target} has no option {name}: {has}.")


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
