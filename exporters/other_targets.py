"""Files that are verified on other targets as well, besides the one that runs their format here."""

from collections.abc import Sequence
from pathlib import Path

from exporters.base import Exporter
from slide_deploy.backends.opening import require_target, target_for
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError


def require_targets(exporters: Sequence[Exporter], names: Sequence[str]) -> None:
    """Check, before anything is written, that each target is here and runs one of the files.

    Raises:
        InputError: if one is not here, or runs none of the formats.
    """
    for name in names:
        target = require_target(name)
        if not any(exporter.suffix in target.suffixes for exporter in exporters):
            kinds = ", ".join(target.suffixes)
            formats = ", ".join(exporter.format for exporter in exporters)
            raise InputError(
                f"{name} runs {kinds} and none of the files in {formats}: leave --verify-on {name} "
                f"out, or write another format."
            )


def others_for(path: Path, precision: str, names: Sequence[str]) -> tuple[str, ...]:
    """The targets that a file is to be verified on besides its own, each once.

    Args:
        path: of the file.
        precision: of the file.
        names: of targets that were asked for.
    """
    own = target_for(path, precision).name
    return tuple(
        name
        for name in dict.fromkeys(names)
        if name != own and path.suffix in target_named(name).suffixes
    )
