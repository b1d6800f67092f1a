"""An input as the user writes it: ``--input image=batchx3xheight:480xwidth:640``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slide_deploy.errors import InputError

TYPES = ("float32", "float16", "int64", "int32", "bool", "uint8", "int8")
# A number, or the name of an open size with the number that the network is tried at.
_SIZE = re.compile(r"(?P<size>[1-9]\d*)|(?P<name>[A-Za-z_]\w*)(?::(?P<example>[1-9]\d*))?")


@dataclass(frozen=True)
class InputText:
    """What the user says of an input: ``[NAME=]SIZExSIZE...[:TYPE]``.

    Attributes:
        name: empty where the network's own is meant.
        shape: sizes of the example.
        open: names of the sizes that stay open, by their axis.
        dtype: of its values, as numpy spells it.
    """

    name: str
    shape: tuple[int, ...]
    open: Mapping[int, str]
    dtype: str

    @classmethod
    def parse(cls, text: str) -> "InputText":
        """Read "1x3x640x640", "image=batchx3x640x640" or "ids=1xlength:77:int64".

        A size that is left open is a name without the letter x, which separates sizes. A number
        behind it is the size at which the network is tried: 1 for the first size of an input and
        224 for the others, unless one is given.

        Raises:
            InputError: if the text is nothing of the kind.
        """
        name, _, rest = text.rpartition("=")
        if name and not name.isidentifier():
            raise InputError(
                f"--input {text}: {name!r} is no name for an input: use letters, digits and "
                f"underscores."
            )
        shape_text, _, dtype = rest.rpartition(":")
        if dtype not in TYPES:
            shape_text, dtype = rest, "float32"
        sizes: list[int] = []
        names: dict[int, str] = {}
        for axis, part in enumerate(shape_text.split("x")):
            match = _SIZE.fullmatch(part)
            if match is None:
                raise InputError(
                    f"--input {text} is not understood at {part!r}: give sizes as 1x3x640x640, "
                    f"with a name as image=1x3x640x640, open ones by names as "
                    f"batchx3xheight:640xwidth:640, and a type as 1x77:int64 "
                    f"({', '.join(TYPES)})."
                )
            if match["name"]:
                names[axis] = match["name"]
            given = match["size"] or match["example"]
            sizes.append(int(given) if given else 1 if axis == 0 else 224)
        return cls(name, tuple(sizes), names, dtype)

    def example(self, seed: int = 0) -> np.ndarray:
        """Values to try the network with: normal numbers, and zeros of types that may be indices.

        Args:
            seed: of the draw.
        """
        if self.dtype in ("float32", "float16"):
            draw = np.random.default_rng(seed).standard_normal(self.shape)
            return draw.astype(self.dtype)
        return np.zeros(self.shape, self.dtype)
