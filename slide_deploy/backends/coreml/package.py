"""Run an ``.mlpackage`` on Core ML, through coremltools.

`MLModel.predict` copies inputs into Core ML's arrays (float16 by way of float32) and outputs back
into numpy's. A call on a phone, which binds its buffers, has no such cost.
"""

import platform
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds, Port, Session, Stage, session_name
from slide_deploy.backends.coreml.units import Units
from slide_deploy.backends.inputs import PIXELS, sized
from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.saved.mlpackage import Feature, Package, open_package

SUFFIXES = (".mlpackage",)
# Optimisation hints of coremltools, and the enumeration that holds each one's values.
_HINTS = {
    "reshapeFrequency": "ReshapeFrequency",
    "specializationStrategy": "SpecializationStrategy",
}


def open_on(units: Units, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read and compile a package, which Core ML does in one stage; see `Target`."""
    refuse_unusable(path, units.target, SUFFIXES)
    with stage("import"):
        if find_spec("coremltools") is None:
            raise MissingExtra("coremltools", "coreml")
        import coremltools
    reason = units.missing()
    if reason is not None:
        raise InputError(f"{units.target} cannot run here: {reason}.")
    refuse_precision(units.target, configuration.precision)
    open_again = partial(_open, units, path, _hints(units, configuration))
    with stage("compile"):
        model = open_again()
    placement = _placement(units, path, model)
    package = open_package(path)
    ports = sized(path, described(path, package.inputs), configuration)
    opened = [model]

    def new_stream() -> Predictions:
        # Apple's documentation: use an instance of MLModel on one thread at a time.
        return Predictions(opened.pop() if opened else open_again(), package)

    return Session(
        runtime=session_name(units.target),
        version=coremltools.__version__,
        inputs=ports,
        # Without a classifier's most probable class; its dictionary is converted to an array.
        outputs=tuple(feature.name for feature in package.outputs),
        new_stream=new_stream,
        facts={
            "library": "coremltools",
            "version": coremltools.__version__,
            "device": units.member,
            "system": f"macOS {platform.mac_ver()[0]}",
            "precision": "as the package holds it",
            "threads": "chosen by Core ML",
            **placement,
        },
        metadata=package.user_metadata,
    )


def described(path: Path, features: Sequence[Feature]) -> list[Port]:
    """Describe each input; a picture is (1, channels, height, width) of uint8.

    No array input of Core ML is uint8.

    Raises:
        InputError: if an input is neither an array nor a picture.
    """
    ports = []
    for feature in features:
        sizes = tuple(size if isinstance(size, int) else None for size in feature.shape)
        if feature.kind == "image":
            ports.append(Port(feature.name, (1, *sizes), PIXELS, pixels=True))
        elif feature.kind == "array":
            ports.append(Port(feature.name, sizes, feature.dtype or "an unknown type"))
        else:
            raise InputError(
                f"{path} takes {feature.name} as {feature.kind}, which the benchmark cannot "
                f"generate: export it with arrays as inputs."
            )
    return ports


class Predictions:
    """Calls of a model.

    Args:
        model: of coremltools; no other stream uses it.
        package: from which it was loaded.
    """

    def __init__(self, model: Any, package: Package) -> None:
        self._model = model
        self._outputs = tuple(feature.name for feature in package.outputs)
        self._classes = package.classes
        self._pictures = {each.name for each in package.inputs if each.kind == "image"}
        self._given: dict[str, Any] = {}
        self._predicted: dict[str, Any] = {}

    def bind(self, feeds: Feeds) -> None:
        """Set a tensor for each input, by name. Pixels become a picture."""
        self._given = {
            name: _picture(values) if name in self._pictures else values
            for name, values in feeds.items()
        }

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self._predicted = self._model.predict(self._given)

    def read(self) -> list[np.ndarray]:
        """Return the outputs of the last call."""
        return [_array(self._predicted[name], self._classes) for name in self._outputs]


def _open(units: Units, path: Path, hints: dict[str, Any]) -> Any:
    import coremltools

    try:
        with warnings.catch_warnings():
            # coremltools only warns of a failed compilation; get_compiled_model_path() raises.
            warnings.simplefilter("ignore", RuntimeWarning)
            model = coremltools.models.MLModel(
                str(path),
                compute_units=coremltools.ComputeUnit[units.member],
                optimization_hints=hints or None,
            )
        model.get_compiled_model_path()
    except Exception as error:  # the framework's errors have no common class
        raise InputError(f"{path} does not load on {units.target} ({line_of(error)}).") from error
    return model


def _picture(values: np.ndarray) -> Any:
    """Convert pixels (1, channels, height, width) to the picture that Core ML takes.

    Raises:
        InputError: if the batch is not 1, or pillow is missing.
    """
    if find_spec("PIL") is None:
        raise InputError(
            "Pillow is needed to run a package that takes pictures: pip install pillow."
        )
    from PIL import Image

    if values.shape[0] != 1:
        raise InputError(
            f"Core ML takes one picture per call, not {values.shape[0]}: use a batch of 1."
        )
    pixels = np.ascontiguousarray(values[0].transpose(1, 2, 0), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _array(output: Any, classes: Sequence[str]) -> np.ndarray:
    """Convert an output to an array; a classifier's dictionary is ordered by its classes."""
    if isinstance(output, dict):
        return np.array([[output[name] for name in classes]], dtype=np.float32)
    return np.array(output)


def _hints(units: Units, configuration: Configuration) -> dict[str, Any]:
    import coremltools

    refuse_options(units.target, configuration.options, _HINTS)
    hints = {}
    for name, text in configuration.options.items():
        members = getattr(coremltools, _HINTS[name]).__members__
        if text not in members:
            raise InputError(f"{units.target}: {name} must be {' or '.join(members)}, not {text}.")
        hints[name] = members[text]
    return hints


def _placement(units: Units, path: Path, model: Any) -> dict[str, str]:
    """Return where Core ML plans to run each operator; empty before macOS 14.4, which lacks plans.

    Raises:
        InputError: if it plans no operator for the device that the target is named after.
    """
    from coremltools.models.compute_plan import MLComputePlan

    try:
        plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), model.compute_unit)
        operations = plan.model_structure.program.functions["main"].block.operations
    except Exception:  # of any class; a measurement does not need the plan
        return {}
    counts: Counter[str] = Counter()
    for operation in operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:  # None for constants
            counts[type(usage.preferred_compute_device).__name__] += 1
    if units.device and counts and units.device not in counts:
        raise InputError(
            f"{path} runs without the {units.hardware}: Core ML plans none of its operators "
            f"there; the Neural Engine needs a package exported with --precision float16."
        )
    named = {
        name.removeprefix("ML").removesuffix("ComputeDevice"): count
        for name, count in counts.items()
    }
    return {"operators": ", ".join(f"{name} {count}" for name, count in named.items())}
