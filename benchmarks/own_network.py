"""A network of the user's own as a candidate of a suite, and what its file depends on."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.deployable.model_text import ModelText
from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256


@dataclass(frozen=True)
class OwnNetwork:
    """A network that somebody's code builds, as a suite names it.

    Attributes:
        model: what builds it, as ``--model``.
        model_args: its arguments in JSON; None without.
        weights_file: a checkpoint with its weights; None for those that it makes.
        input: its inputs, as ``--input``.
        folder: where its code is found.
    """

    model: str
    model_args: str | None
    weights_file: Path | None
    input: tuple[str, ...]
    folder: Path

    def facts(self) -> dict[str, Any]:
        """All that the file depends on, as plain data."""
        code = {
            os.path.relpath(path, self.folder.resolve()): sha256(path)
            for path in ModelText.parse(self.model).sources(self.folder)
        }
        weights = None if self.weights_file is None else sha256(self.weights_file)
        return {
            "model": [self.model, self.model_args, list(self.input)],
            "weights": weights,
            "own code": code,
        }


def as_json(name: str, arguments: dict[str, Any] | list[Any] | None) -> str | None:
    """Arguments of a factory as ``--model-args`` takes them; None where there are none.

    Args:
        name: of the candidate, for the message.
        arguments: as TOML has them.

    Raises:
        InputError: if there is a date among them, which JSON does not have.
    """
    try:
        return None if arguments is None else json.dumps(arguments)
    except TypeError as error:
        raise InputError(
            f"The model_args of {name} cannot be given as JSON ({error}): use texts, numbers, "
            f"lists and tables."
        ) from error
