"""A classifier read as a network that answers an array.

The last operation of a classifier, ``classify``, gives no arrays: the name of the most probable
class, and a dictionary from names to shares. It computes nothing, so that the array of shares, in
the order of the classes, says the same. Here it takes the dictionary's place, and its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slide_deploy.saved.mlpackage.features import Feature
from slide_deploy.saved.mlpackage.folder import damaged
from slide_deploy.saved.mlpackage.program import (
    Function,
    NamedType,
    Operation,
    OtherType,
    PackageConstant,
    TensorType,
    ValueReference,
)

_CLASSIFY = "classify"


@dataclass(frozen=True)
class PackageClassifier:
    """What is left of a classifier without its last operation.

    Attributes:
        function: answers the shares under the name of the dictionary.
        outputs: of the description, alike.
        classes: their names, in the order of the shares.
    """

    function: Function
    outputs: tuple[Feature, ...]
    classes: tuple[str, ...]


def as_arrays(
    path: Path, function: Function, outputs: Sequence[Feature]
) -> PackageClassifier | None:
    """A classifier as a network that answers an array; None for a function that is none.

    Args:
        path: of the package, for messages.
        function: of the program.
        outputs: what an application gets of it.

    Raises:
        InputError: if its classes are not those of its shares.
    """
    block = function.block
    found = [each for each in block.operations if each.type == _CLASSIFY]
    if len(found) != 1:
        return None
    (operation,) = found
    given = operation.inputs.get("probabilities", ())
    types = {
        named.name: named.type
        for each in block.operations
        for named in each.outputs
        if each is not operation
    } | {named.name: named.type for named in function.inputs}
    shares = given[0] if len(given) == 1 else None
    type_ = types.get(shares.name) if isinstance(shares, ValueReference) else None
    names = _names(operation)
    if (
        len(operation.outputs) != 2
        or not isinstance(operation.outputs[1].type, OtherType)
        or not isinstance(type_, TensorType)
        or not type_.shape
        or type_.shape[-1] not in (None, len(names))
    ):
        raise damaged(path, "its classes are not those of its probabilities")
    label, dictionary = (named.name for named in operation.outputs)
    array = Operation(
        type="identity",
        name=operation.name,
        inputs={"x": given},
        outputs=(NamedType(dictionary, type_),),
        attributes={},
        blocks=(),
    )
    operations = tuple(array if each is operation else each for each in block.operations)
    answered = tuple(name for name in block.outputs if name != label)
    features = tuple(
        Feature(each.name, "array", type_.dtype.name, ()) if each.name == dictionary else each
        for each in outputs
        if each.name != label
    )
    return PackageClassifier(
        replace(function, block=replace(block, operations=operations, outputs=answered)),
        features,
        names,
    )


def _names(operation: Operation) -> tuple[str, ...]:
    """The names of the classes; numbers as texts."""
    names: list[str] = []
    for argument in operation.inputs.get("classes", ()):
        for each in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(each, PackageConstant):
                names.extend(map(str, each.numpy().ravel()))
    return tuple(names)
