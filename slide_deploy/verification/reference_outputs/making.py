"""Runs the trained network and stores its outputs beside an exported file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Session
from slide_deploy.deployable.record import Deployable
from slide_deploy.files.companions import model_digest
from slide_deploy.images.description import ImageDescription, read_description
from slide_deploy.precisions import precision_named
from slide_deploy.verification.cases import Answers, Case
from slide_deploy.verification.draws import Recipe, stored
from slide_deploy.verification.reference_outputs.record import (
    MOST_DRAWN,
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

# Inputs that cannot be drawn again are stored up to so many bytes in all: thirteen images of
# 224x224 in float32. Examples that ranges of int8 are held against are no fewer than two.
_MOST_STORED, _LEAST_EXAMPLES = 2**23, 2


@dataclass(frozen=True)
class FileInterface:
    """What a written file calls its inputs and outputs.

    Attributes:
        inputs: in the order of the file.
        outputs: the same.
        metadata: what the file says of itself, by key.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def interface_of(session: Session) -> FileInterface:
    """The interface of an opened file."""
    names = tuple(port.name for port in session.inputs)
    return FileInterface(names, session.outputs, dict(session.metadata))


def store_reference(
    path: Path,
    model_sha256: str,
    names: FileInterface,
    deployable: Deployable,
    cases: Sequence[Case],
    answers: Sequence[Answers],
    precision: str,
) -> Path | None:
    """Write the reference outputs of a file beside it.

    Args:
        path: of the written file.
        model_sha256: of it and its companions, see ``companions.model_digest``.
        names: what it calls its inputs and outputs.
        deployable: the network, under whose names cases and answers stand.
        cases: on which the file was verified.
        answers: of the trained network to each.
        precision: of the file.

    Returns:
        Where they stand; None where no case is small enough to be stored.
    """
    described = read_description(names.metadata)
    inputs = dict(paired([each.name for each in deployable.inputs], names.inputs))
    outputs = dict(paired(deployable.outputs, names.outputs))
    room, drawn = _MOST_STORED, 0
    found: list[ExpectedCase] = []
    for case, truth in zip(cases, answers, strict=True):
        # JSON has no infinity, as masks have it.
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
            tensor = _given(whole if kept is None else whole[:kept], theirs, described)
            recipes[theirs], values[theirs] = stored(tensor), tensor
        room -= sum(each.nbytes for each in values.values())
        expectations = {
            outputs[name]: expected(value[:kept] if case.rows else value, seed)
            for seed, (name, value) in enumerate(truth.items(), start=1)
        }
        expectation = ExpectedCase(case.name, recipes, expectations, values, case.rows)
        drawn += expectation.drawn
        if drawn > MOST_DRAWN:
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
    """Ask the trained network for its answers and write them beside a file of it.

    Args:
        path: of the written file.
        session: the opened file.
        deployable: the network.
        cases: that are asked.
        precision: of the file.

    Returns:
        Where they stand; None where no case is small enough to be stored.
    """
    answers = trained_outputs(deployable, cases).answers
    names, digest = interface_of(session), model_digest(path)
    return store_reference(path, digest, names, deployable, cases, answers, precision)


def _kept_rows(case: Case, room: int) -> int | None:
    """How many rows of a case are stored: None for all, 0 for none.

    Only cases of examples can be cut, as each example is run on its own.
    """
    size = sum(each.nbytes for name, each in case.inputs.items() if name not in case.recipes)
    if size <= room:
        return None
    if case.rows is None:
        return 0
    fitting = max(room * case.batch // size, _LEAST_EXAMPLES * case.rows)
    return fitting // case.rows * case.rows


def _as_taken(recipe: Recipe, name: str, described: ImageDescription | None) -> Recipe:
    """A recipe of pixels (batch, channels, height, width) of RGB as the file takes them."""
    if not _is_rearranged(name, described):
        return recipe
    assert described is not None
    last = described.layout == "nhwc"
    return replace(
        recipe,
        axes=(0, 2, 3, 1) if last else None,
        reverse=(3 if last else 1) if described.order == "bgr" else None,
    )


def _given(values: np.ndarray, name: str, described: ImageDescription | None) -> np.ndarray:
    if not _is_rearranged(name, described):
        return values
    assert described is not None
    return described.given(values)


def _is_rearranged(name: str, described: ImageDescription | None) -> bool:
    return described is not None and described.inside and described.input == name
