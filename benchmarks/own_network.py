"""A network from the user's own code as a candidate of a suite."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.deployable.model_text import ModelText
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
