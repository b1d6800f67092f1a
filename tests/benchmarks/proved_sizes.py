"""Targets that run one small network in numpy. One of them does not accept open sizes.

Files are JSON: {"weight": X, "fixed": the batch, or null where it is open}.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Availability, Feeds, FunctionStream, Port, Session, Target
from slide_deploy.backends.inputs import sized
from slide_deploy.errors import InputError
from slide_deploy.precisions import FLOAT32
from slide_deploy.verification.draws import normal
from slide_deploy.verification.reference_outputs.record import ExpectedCase, Reference, expected
from slide_deploy.verification.reference_outputs.reference_file import (
    reference_path,
    write_reference,
)

RIGHT = 2.0


def answered(feeds: Feeds, weight: float) -> list[np.ndarray]:
    return [feeds["x"].mean((2, 3)) * np.float32(weight) + feeds["x"][:, :, 0, 0]]


def written(
    path: Path,
    weight: float = RIGHT,
    fixed: int | None = None,
    cases_of: tuple[tuple[str, int], ...] = (("noise", 1), ("batch of 3", 3)),
) -> Path:
    """A file, with reference outputs at 8x8 of some batches."""
    path.write_text(json.dumps({"weight": weight, "fixed": fixed}))
    cases = []
    for name, batch in cases_of:
        recipe = normal(batch, (batch, 3, 8, 8), "float32")
        (truth,) = answered({"x": recipe.tensor()}, RIGHT)
        cases.append(ExpectedCase(name, {"x": recipe}, {"y": expected(truth, 1)}))
    write_reference(
        reference_path(path), Reference("0" * 64, "float32", FLOAT32.limit, tuple(cases))
    )
    return path


def open_file(must_be_fixed, path, configuration, stage) -> Session:
    content = json.loads(path.read_text())
    described = Port("x", (content["fixed"], 3, None, None))
    ports = sized(path, [described], configuration)
    if must_be_fixed and None in ports[0].shape:
        raise InputError(f"{path} leaves sizes open, which this target refuses.")
    weight = content["weight"]
    return Session(
        "numpy", "1", ports, ("y",), lambda: FunctionStream(partial(answered, weight=weight))
    )


def _target(name: str, must_be_fixed: bool) -> Target:
    return Target(
        f"tests.benchmarks.proved_sizes:{name}",
        (".json",),
        lambda: Availability(True, "numpy"),
        partial(open_file, must_be_fixed),
    )


any_sizes, fixed_sizes = _target("any_sizes", False), _target("fixed_sizes", True)
