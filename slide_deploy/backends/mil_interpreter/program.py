"""``MilProgram``: a saved Core ML program, run by the interpreter.

Importing this module imports neither torch nor coremltools; loading a program imports torch.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.saved.mlpackage import Feature, Package, Range, TensorType, open_package

if TYPE_CHECKING:
    from slide_deploy.backends.mil_interpreter.engine import Engine

PortSize: TypeAlias = int | Range | None
"""A fixed size, a range of allowed sizes, or None if the file does not limit the size."""


@dataclass(frozen=True, slots=True)
class ProgramPort:
    """An input or an output.

    Attributes:
        shape: one size per dimension; None if the rank is not declared.
        dtype: element type in numpy's spelling.
        choices: the allowed shapes, if the file enumerates them.
        colours: colour order of an image with pixels from 0 to 255, as in `Feature`; else empty.
    """

    shape: tuple[PortSize, ...] | None
    dtype: str
    choices: tuple[tuple[int, ...], ...] = ()
    colours: str = ""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape may be passed."""
        if self.choices:
            return shape in self.choices
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(
                size in expected if isinstance(expected, Range) else expected in (size, None)
                for size, expected in zip(shape, self.shape, strict=True)
            )
        )


class MilProgram:
    """The main function of a saved package, computed with torch on the CPU.

    float32 operators are computed in float32. float16 values are computed in float32 and rounded to
    float16 at the output of each operator, which is the rounding that float16 storage implies.

    Args:
        package: an open package.

    Attributes:
        path: the package's folder.
        inputs: the inputs of ``run``, in the order of the program.
        outputs: the outputs of ``run``, in the order of the program.
        user_metadata: the metadata that the exporter stored with the model, by key.

    Raises:
        UnsupportedOperator: if the program uses an unsupported operator or option.
        InputError: if the program contradicts itself.
        MissingExtra: if torch is not installed.
    """

    def __init__(self, package: Package) -> None:
        self.path = package.path
        self.user_metadata = package.user_metadata
        self._engine = _make_engine(package)
        features = {feature.name: feature for feature in (*package.inputs, *package.outputs)}
        self.inputs = {
            named.name: _port(self._engine.types[named.name], features.get(named.name))
            for named in package.main.inputs
        }
        self.outputs = {
            name: _port(self._engine.types[name], features.get(name))
            for name in self._engine.plan.outputs
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MilProgram":
        """Open a package and prepare it to run. Also raises the errors of `open_package`."""
        return cls(open_package(path))

    @property
    def value_names(self) -> frozenset[str]:
        """Names of all values that may be passed to ``run`` as ``keep``."""
        return self._engine.plan.values

    @property
    def computed_floats(self) -> tuple[str, ...]:
        """Names of the floating-point values that the program computes, in program order."""
        return tuple(
            named.name
            for step in self._engine.plan.steps
            for named in step.operation.outputs
            if self._engine.types[named.name].dtype.name.startswith("float")
        )

    def run(
        self, inputs: Mapping[str, ArrayLike], keep: Collection[str] = ()
    ) -> dict[str, NDArray[np.generic]]:
        """Compute the outputs.

        Args:
            inputs: an array for every input; numbers are converted to the declared type.
            keep: names of intermediates to return as well.

        Returns:
            Arrays by name, in the types that the program declares.

        Raises:
            InputError: if an array or a name does not fit the program, or it is damaged.
        """
        unknown = [*(set(inputs) - set(self.inputs)), *(set(keep) - self.value_names)]
        if unknown:
            raise InputError(
                f"{self.path} has no {min(unknown)!r}: its inputs are "
                f"{', '.join(self.inputs) or 'none'}."
            )
        missing = set(self.inputs) - set(inputs)
        if missing:
            raise InputError(f"{self.path} needs the input {min(missing)!r}: pass an array.")
        arrays = {name: self._converted(name, array) for name, array in inputs.items()}
        return self._engine.run(arrays, keep)

    def _converted(self, name: str, given: ArrayLike) -> NDArray[np.generic]:
        array, port = np.asarray(given), self.inputs[name]
        if not np.can_cast(array.dtype, port.dtype, "same_kind"):
            raise InputError(
                f"{self.path} takes {port.dtype} as {name!r}, not {array.dtype}: convert it."
            )
        if not port.accepts(array.shape):
            raise InputError(
                f"{self.path} does not take shape {array.shape} as {name!r}: "
                f"it declares {_described(port)}."
            )
        return array.astype(port.dtype)


def _make_engine(package: Package) -> "Engine":
    try:
        from slide_deploy.backends.mil_interpreter.engine import Engine
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtra("torch", "torch") from error
        raise
    return Engine(package.path, package.main)


def _port(declared: TensorType, feature: Feature | None) -> ProgramPort:
    """Return the declared type, with unknown sizes filled in from the model's description."""
    dtype = declared.dtype.name
    if declared.shape is None or feature is None or len(feature.shape) != len(declared.shape):
        return ProgramPort(
            declared.shape, dtype, colours="" if feature is None else feature.colours
        )
    sizes = tuple(
        allowed if size is None else size
        for size, allowed in zip(declared.shape, feature.shape, strict=True)
    )
    return ProgramPort(sizes, dtype, feature.choices)


def _described(port: ProgramPort) -> str:
    if port.choices:
        return "one of " + ", ".join(str(choice) for choice in port.choices)
    if port.shape is None:
        return "no shape"
    words = [
        f"{size.low} to {size.high or 'any'}" if isinstance(size, Range) else str(size or "any")
        for size in port.shape
    ]
    return f"({', '.join(words)})"
