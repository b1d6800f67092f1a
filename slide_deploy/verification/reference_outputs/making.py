"""Run the trained network and store its outputs beside an exported file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Session
from slide_deploy.deployable.record import Deployable
from slide_deploy.files.companions import model_digest
from slide_deploy.images.description import ImageDescription, read_description
from slide_deploy.precisions import precision_named
from slide_deploy.verification.cases import Case, NamedOutputs
from slide_deploy.verification.draws import Recipe, stored
from slide_deploy.verification.reference_outputs.record import (
    MAX_DRAWN,
    ExpectedCase,
    Reference,
    expected,
)
from slide_deploy.verification.reference_outputs.reference_file import (
    reference_path,
    write_reference,
)
from slide_deploy.verification.trained_outputs import trained_outputs
from slide_deploy.verification.verify import paired

# Inputs that cannot be drawn again are stored, up to this many bytes per file: thirteen float32
# images of 224x224. At least two of the examples that verify an int8 file are stored.
_MAX_STORED_BYTES, _MIN_EXAMPLES = 2**23, 2


@dataclass(frozen=True)
class FileInterface:
    """Names and metadata of a written file.

    Attributes:
        inputs: names of the inputs, in the order of the file.
        outputs: names of the outputs, in the order of the file.
        metadata: the file's metadata, by key.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def interface_of(session: Session) -> FileInterface:
    """Read the names and the metadata of an opened file."""
    names = tuple(port.name for port in session.inputs)
    return FileInterface(names, session.outputs, dict(session.metadata))


def store_reference(
    path: Path,
    model_sha256: str,
    names: FileInterface,
    deployable: Deployable,
    cases: Sequence[Case],
    truth: Sequence[NamedOutputs],
    precision: str,
) -> Path | None:
    """Write the reference outputs of a file beside it.

    Args:
        path: the written file.
        model_sha256: hash of the file and its companions, see ``companions.model_digest``.
        names: the names of its inputs and outputs.
        deployable: the network, whose names the cases and outputs use.
        cases: the cases on which the file was verified.
        truth: outputs of the trained network for each case.
        precision: precision of the file.

    Returns:
        Path of the reference outputs; None if no case is small enough to be stored.
    """
    described = read_description(names.metadata)
    inputs = dict(paired([each.name for each in deployable.inputs], names.inputs))
    output_names = dict(paired(deployable.outputs, names.outputs))
    room, drawn = _MAX_STORED_BYTES, 0
    found: list[ExpectedCase] = []
    for case, wanted in zip(cases, truth, strict=True):
        # JSON cannot store infinity, which masks may contain.
        drawable = {
            name: recipe
            for name, recipe in case.recipes.items()
            if np.isfinite(recipe.draw.get("values", ())).all()
        }
        kept = _kept_rows(replace(case, recipes=drawable), room)
        if kept == 0:
            continue
        recipes: dict[str, Recipe] = {}
        values: dict[str, np.ndarray] = {}
        for ours, theirs in inputs.items():
            recipe = drawable.get(ours)
            if recipe is not None:
                recipes[theirs] = _as_taken(recipe, theirs, described)
                continue
            whole = case.inputs[ours]
            tensor = _values_as_taken(whole if kept is None else whole[:kept], theirs, described)
            recipes[theirs], values[theirs] = stored(tensor), tensor
        room -= sum(each.nbytes for each in values.values())
        expectations = {
            output_names[name]: expected(value[:kept] if case.rows else value, seed)
            for seed, (name, value) in enumerate(wanted.items(), start=1)
        }
        expectation = ExpectedCase(case.name, recipes, expectations, values, case.rows)
        drawn += expectation.drawn
        if drawn > MAX_DRAWN:
            break
        found.append(expectation)
    if not found:
        return None
    limit = precision_named(precision).limit
    beside = reference_path(path)
    write_reference(beside, Reference(model_sha256, precision, limit, tuple(found)))
    return beside


def store_reference_of(
    path: Path, session: Session, deployable: Deployable, cases: Sequence[Case], precision: str
) -> Path | None:
    """Run the trained network and write its outputs beside a file of it.

    Returns:
        Path of the reference outputs; None if no case is small enough to be stored.
    """
    truth = trained_outputs(deployable, cases).outputs
    names, digest = interface_of(session), model_digest(path)
    return store_reference(path, digest, names, deployable, cases, truth, precision)


def _kept_rows(case: Case, room: int) -> int | None:
    """The number of rows of a case to store: None for all, 0 for none.

    Only cases of examples can be shortened, because each example runs alone.
    """
    size = sum(each.nbytes for name, each in case.inputs.items() if name not in case.recipes)
    if size <= room:
        return None
    if case.rows is None:
        return 0
    fitting = max(room * case.batch // size, _MIN_EXAMPLES * case.rows)
    return fitting // case.rows * case.rows


def _as_taken(recipe: Recipe, name: str, described: ImageDescription | None) -> Recipe:
    """Adapt a recipe of RGB pixels (batch, channels, height, width) to the file's image layout."""
    if not _is_rearranged(name, described):
        return recipe
    assert described is not None
    last = described.layout == "nhwc"
    return replace(
        recipe,
        axes=(0, 2, 3, 1) if last else None,
        reverse=(3 if last else 1) if described.order == "bgr" else None,
    )


def _values_as_taken(
    values: np.ndarray, name: str, described: ImageDescription | None
) -> np.ndarray:
    """Adapt RGB pixels (batch, channels, height, width) to the file's image layout."""
    if not _is_rearranged(name, described):
        return values
    assert described is not None
    return described.given(values)


def _is_rearranged(name: str, described: ImageDescription | None) -> bool:
    return described is not None and described.inside and described.input == name
