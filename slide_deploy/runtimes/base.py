"""What every runtime answers to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from slide_deploy.errors import InputError

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """An input of a written file.

    Attributes:
        name: as the file calls it.
        shape: None in the place of each size that is open.
        dtype: of its values, as numpy spells it.
        pixels: whether it takes pixels from 0 to 255 whatever its type, as Core ML's images are.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    pixels: bool = False


@dataclass(frozen=True)
class Session:
    """A written file, loaded and ready to run.

    Attributes:
        runtime: what runs it, for example "onnxruntime".
        version: of the runtime's library.
        inputs: in the order of the file.
        outputs: their names, in the order of the file.
        run: a tensor of its type for each input in, every output out, in the order of the names.
        metadata: what the exporter stored with the file, by key.
    """

    runtime: str
    version: str
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    run: Callable[[Feeds], Sequence[np.ndarray]]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Every output by its name.

        Args:
            feeds: a tensor for each input, by its name. Numbers of another precision are rounded.

        Raises:
            InputError: if an input is missing or of another kind, or the runtime refuses it.
        """
        taken: dict[str, np.ndarray] = {}
        for port in self.inputs:
            if port.name not in feeds:
                raise InputError(f"The file takes {port.name}, which it was not given.")
            values = feeds[port.name]
            if not np.can_cast(values.dtype, port.dtype, "same_kind"):
                raise InputError(
                    f"The file takes {port.name} as {port.dtype} and not as {values.dtype}."
                )
            taken[port.name] = values.astype(port.dtype, copy=False)
        try:
            answers = self.run(taken)
        except InputError:
            raise
        except Exception as error:  # every runtime has errors of its own
            reason = message_lines(error)[0]
            raise InputError(f"{self.runtime} could not run the file ({reason}).") from error
        return dict(zip(self.outputs, answers, strict=True))


def message_lines(error: Exception) -> list[str]:
    """What a native library says, at least one line.

    It quotes names from the file. Where those are no UTF-8 its binding to Python raises
    ``UnicodeDecodeError`` in place of the error, and the message is what could not be decoded.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode("utf-8", "replace")
    return text.strip().splitlines() or [type(error).__name__]
