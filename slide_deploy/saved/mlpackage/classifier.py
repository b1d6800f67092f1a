"""Read a classifier as a network that outputs an array.

The last operation of a classifier, ``classify``, outputs no arrays: the name of the most probable
class, and a dictionary from class names to probabilities. It computes nothing, so the array of
probabilities, in the order of the classes, is equivalent. Here the array replaces the dictionary,
under the same name.
"""

from dataclasses import replace
from pathlib import Path

from slide_deploy.saved.mlpackage.features import Feature
from slide_deploy.saved.mlpackage.program import (
    Function,
    NamedType,
    Operation,
    OtherType,
    PackageConstant,
    TensorType,
    ValueReference,
)
from slide_deploy.saved.untrusted import damaged

_CLASSIFY = "classify"


def as_arrays(
    path: Path, function: Function, outputs: tuple[Feature, ...]
) -> tuple[Function, tuple[Feature, ...], tuple[str, ...]]:
    """Replace the outputs of a classifier by an array; any other function stays as it is.

    Returns:
        The function, which outputs the probabilities under the name of the dictionary; the outputs
        with the same change; the names of the classes, in the order of the probabilities.

    Raises:
        InputError: if its classes do not match its probabilities.
    """
    block = function.block
    found = [each for each in block.operations if each.type == _CLASSIFY]
    if len(found) != 1:
        return function, outputs, ()
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
        raise damaged(path, "its classes do not match its probabilities")
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
    remaining = tuple(name for name in block.outputs if name != label)
    features = tuple(
        Feature(each.name, "array", type_.dtype.name, ()) if each.name == dictionary else each
        for each in outputs
        if each.name != label
    )
    block = replace(block, operations=operations, outputs=remaining)
    return replace(function, block=block), features, names


def _names(operation: Operation) -> tuple[str, ...]:
    """Return the names of the classes, with numbers as strings."""
    names: list[str] = []
    for argument in operation.inputs.get("classes", ()):
        for each in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(each, PackageConstant):
                names.extend(map(str, each.numpy().ravel()))
    return tuple(names)
