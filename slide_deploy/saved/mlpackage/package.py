"""Open an ``.mlpackage``: check it, decode it to plain data, and map its weights."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage.classifier import as_arrays
from slide_deploy.saved.mlpackage.decoding import Decoder
from slide_deploy.saved.mlpackage.features import Feature, read_features
from slide_deploy.saved.mlpackage.folder import MAX_MODEL_BYTES, find_model, read_limited
from slide_deploy.saved.mlpackage.program import Function
from slide_deploy.saved.mlpackage.protobuf import parse_model
from slide_deploy.saved.mlpackage.weights import PackageWeights
from slide_deploy.saved.untrusted import damaged

MAX_FEATURES = 1000


@dataclass(frozen=True, eq=False)
class Package:
    """An ML program on disk.

    Attributes:
        path: of the folder.
        spec: the ``Model`` message, for everything that the other attributes leave out.
        functions: of the program, by name.
        main: the function that runs by default.
        inputs: of ``main``, as declared to applications.
        outputs: of ``main``, as declared to applications.
        user_metadata: metadata that the exporter stored with the model.
        weights: the weight files.
        classes: class names of a classifier, in the order of the array that replaces its
            dictionary here; else empty.
    """

    path: Path
    spec: Any
    functions: Mapping[str, Function]
    main: Function
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    user_metadata: Mapping[str, str]
    weights: PackageWeights
    classes: tuple[str, ...] = ()


def open_package(path: str | os.PathLike[str]) -> Package:
    """Open a package, check all that its program refers to, and decode the program.

    The weights themselves are not read: a constant is a view of the mapped weight file.

    Raises:
        InputError: if the folder is not an ``.mlpackage``, holds no ML program, is damaged or
            refers to files outside itself.
        MissingExtra: if coremltools, whose message definitions are used, is not installed.
    """
    package = Path(path)
    model = find_model(package)
    spec = _parse(package, model)
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        what = f"a model of kind {kind}" if kind else "no model"
        raise InputError(
            f"{package} holds {what}, not an ML program: convert the model again with "
            f'convert_to="mlprogram".'
        )
    folder = model.parent.relative_to(package.resolve())
    weights = PackageWeights(package, PurePosixPath(folder))
    decoder = Decoder(package, weights)
    functions = {
        name: decoder.function(name, message) for name, message in spec.mlProgram.functions.items()
    }
    main = functions.get(spec.description.defaultFunctionName or "main")
    if main is None:
        raise damaged(package, "its program has no main function")
    whole = spec.description
    description = next((each for each in whole.functions if each.name == main.name), whole)
    if max(len(description.input), len(description.output)) > MAX_FEATURES:
        raise damaged(package, f"it has more than {MAX_FEATURES} inputs or outputs")
    main, outputs, classes = as_arrays(package, main, read_features(description.output))
    functions[main.name] = main
    return Package(
        path=package,
        spec=spec,
        functions=functions,
        main=main,
        inputs=read_features(description.input),
        outputs=outputs,
        user_metadata=dict(spec.description.metadata.userDefined),
        weights=weights,
        classes=classes,
    )


def _parse(package: Path, model: Path) -> Any:
    try:
        return parse_model(read_limited(package, model, MAX_MODEL_BYTES))
    except ValueError as error:
        raise damaged(package, f"{model.name} is not a whole Core ML model") from error
