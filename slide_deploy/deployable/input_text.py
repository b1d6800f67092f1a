"""Parse an input as the user writes it: ``--input image=batchx3xheight:480xwidth:640``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slide_deploy.errors import InputError

TYPES = ("float32", "float16", "int64", "int32", "bool", "uint8", "int8")
# A number, or the name of an open size with the size of the example.
_SIZE = re.compile(r"(?P<size>[1-9]\d*)|(?P<name>[A-Za-z_]\w*)(?::(?P<example>[1-9]\d*))?")


@dataclass(frozen=True)
class InputText:
    """The description of an input: ``[NAME=]SIZExSIZE...[:TYPE]``.

    Attributes:
        name: name of the input; empty for the network's own name.
        shape: sizes of the example.
        open: names of the open sizes, by axis.
        dtype: numpy's name of the values' type.
    """

    name: str
    shape: tuple[int, ...]
    open: Mapping[int, str]
    dtype: str

    @classmethod
    def parse(cls, text: str) -> "InputText":
        """Read "1x3x640x640", "image=batchx3x640x640" or "ids=1xlength:77:int64".

        An open size is a name without the letter x, which separates sizes. The number after it is
        the size of the example. The default is 1 for the first size and 224 for the others.

        Raises:
            InputError: if the text does not have this form.
        """
        name, _, rest = text.rpartition("=")
        if name and not name.isidentifier():
            raise InputError(
                f"--input {text}: {name!r} is not a valid input name: use letters, digits and "
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
                    f"--input {text} is invalid at {part!r}: give sizes as 1x3x640x640, a name as "
                    f"image=1x3x640x640, open sizes as batchx3xheight:640xwidth:640, and a type as "
                    f"1x77:int64 ({', '.join(TYPES)})."
                )
            if match["name"]:
                names[axis] = match["name"]
            given = match["size"] or match["example"]
            sizes.append(int(given) if given else 1 if axis == 0 else 224)
        return cls(name, tuple(sizes), names, dtype)

    def example(self, seed: int = 0) -> np.ndarray:
        """Return example values: normal numbers, or zeros for types that may be indices."""
        if self.dtype in ("float32", "float16"):
            draw = np.random.default_rng(seed).standard_normal(self.shape)
            return draw.astype(self.dtype)
        return np.zeros(self.shape, self.dtype)
