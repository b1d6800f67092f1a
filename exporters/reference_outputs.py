"""The trained network's answers, stored beside a file; see ``slide_deploy.references``."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from exporters.proof import Interface, Proof
from slide_deploy.cases import Case
from slide_deploy.deployable.record import Deployable
from slide_deploy.images.description import ImageDescription, read_description
from slide_deploy.precisions import precision_named
from slide_deploy.references.draws import Recipe, stored
from slide_deploy.references.record import ExpectedCase, Reference, expected
from slide_deploy.references.reference_file import reference_path, write_reference
from slide_deploy.verification import paired

# Inputs that cannot be drawn again are stored up to so many bytes in all: thirteen images of
# 224x224 in float32. Examples that ranges of int8 are held against are no fewer than two.
_MOST_STORED, _LEAST_EXAMPLES = 2**23, 2


def store_reference(
    path: Path,
    model_sha256: str,
    names: Interface,
    deployable: Deployable,
    proof: Proof,
    precision: str,
) -> Path | None:
    """Write the reference outputs of a file beside it.

    Args:
        path: of the written file.
        model_sha256: of it and its companions.
        names: what it calls its inputs and outputs.
        deployable: the network, under whose names cases and answers stand.
        proof: the cases on which the file was verified, with the true answers.
        precision: of the file.

    Returns:
        Where they stand; None where no case is small enough to be stored.
    """
    described = read_description(names.metadata)
    inputs = dict(paired([each.name for each in deployable.inputs], names.inputs))
    outputs = dict(paired(deployable.outputs, names.outputs))
    room = _MOST_STORED
    found: list[ExpectedCase] = []
    for case, truth in zip(proof.cases, proof.reference.answers, strict=True):
        kept = _kept_rows(case, room)
        if kept == 0:
            continue
        recipes: dict[str, Recipe] = {}
        values: dict[str, np.ndarray] = {}
        for ours, theirs in inputs.items():
            recipe = case.recipes.get(ours)
            if recipe is not None:
                recipes[theirs] = _as_taken(recipe, theirs, described)
                continue
            tensor = _given(case.inputs[ours][:kept], theirs, described)
            recipes[theirs], values[theirs] = stored(tensor), tensor
        room -= sum(each.nbytes for each in values.values())
        expectations = {
            outputs[name]: expected(value[:kept] if case.rows else value, seed)
            for seed, (name, value) in enumerate(truth.items(), start=1)
        }
        found.append(ExpectedCase(case.name, recipes, expectations, values, case.rows))
    if not found:
        return None
    limit = precision_named(precision).limit
    beside = reference_path(path)
    write_reference(beside, Reference(model_sha256, precision, limit, tuple(found)))
    return beside


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
