"""A network from the user's own code as a candidate of a suite."""

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
    """A network that the user's code builds, as a suite specifies it.

    Attributes:
        model: Factory of the network, as in ``--model``.
        model_args: Arguments of the factory in JSON, or None.
        weights_file: Checkpoint with its weights; None for the weights that the factory sets.
        input: Its inputs, as in ``--input``.
        folder: Folder of its code.
    """

    model: str
    model_args: str | None
    weights_file: Path | None
    input: tuple[str, ...]
    folder: Path

    def facts(self) -> dict[str, Any]:
        """Return everything that the exported file depends on, as plain data."""
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
    """Return arguments of a factory as JSON for ``--model-args``, or None without arguments.

    Args:
        name: Name of the candidate, for the error message.
        arguments: Arguments as parsed from TOML.

    Raises:
        InputError: An argument is a date, which JSON lacks.
    """
    try:
        return None if arguments is None else json.dumps(arguments)
    except TypeError as error:
        raise InputError(
            f"The model_args of {name} cannot be written as JSON ({error}): use strings, numbers, "
            f"lists and tables."
        ) from error
