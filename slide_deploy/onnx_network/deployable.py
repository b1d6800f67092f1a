"""Create a ``Deployable`` from an ``.onnx`` file."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.backends import Session
from slide_deploy.backends.opening import open_exactly
from slide_deploy.deployable.input_text import InputText
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.module import deployable_of, unique_names
from slide_deploy.deployable.reasons import reason_of
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.errors import InputError
from slide_deploy.files import companions
from slide_deploy.graph_checks import read_graph
from slide_deploy.onnx_network.attentions import UncutAttention, cut_attentions
from slide_deploy.onnx_network.building import GraphParts, parts_of
from slide_deploy.onnx_network.frozen_sizes import freeze_sizes
from slide_deploy.onnx_network.operators import UnsupportedOperatorError
from slide_deploy.onnx_network.reading import forget_graphs, read_model, type_of
from slide_deploy.onnx_network.rows import unflatten_rows
from slide_deploy.onnx_network.slices import join_slices

# Batch sizes at which a graph with an open batch is run, to see which of its sizes are constant.
_BATCHES = (2, 3)
# Largest input, which is half a gibibyte in float32.
_MOST_ELEMENTS = 2**27
# Most attentions to name for one reason.
_NAMED = 5


def deployable_onnx(path: Path, inputs: Sequence[str] = (), option: str = "--input") -> Deployable:
    """Read a network from a file, and let written files be verified against that file.

    Args:
        path: the ``.onnx`` file.
        inputs: texts for ``InputText``, one for every input whose sizes the file leaves open beside
            the batch.
        option: where the user gives ``inputs``, for messages.

    Raises:
        InputError: if the file is damaged, has an operator that cannot be read, or needs a size
            that is not given.
        MissingExtra: if the onnx library is not installed.
    """
    try:
        return _deployable(path, inputs, option)
    except InputError:
        raise
    except UnsupportedOperatorError as error:
        raise InputError(f"{path}: {error}: {error.advice}.") from error
    except Exception as error:  # a stranger's file, any error of a library
        raise InputError(
            f"{path} cannot be read as a network ({reason_of(error)}): export it again."
        ) from error


def _deployable(path: Path, inputs: Sequence[str], option: str) -> Deployable:
    graph = read_graph(path)
    dtypes = graph.dtypes
    files = companions.parts_of(path, graph)
    del graph
    digest = companions.digest_of(companions.digests_of(files))
    forget_graphs()
    model = read_model(path)
    declared = [_Declared.of(each, path) for each in model.graph.inputs]
    if not declared:
        raise InputError(f"{path} has no inputs, so that its outputs never change: store them.")
    given = _given(inputs, declared, path, option)
    parts = parts_of(model)
    del model
    forget_graphs()
    remarks = _with_attentions(parts, declared, given)
    module = parts.module()
    names = unique_names(each.name for each in declared)
    made = deployable_of(
        module,
        [each.example(given) for each in declared],
        name=str(path),
        stem=path.stem,
        input_names=names,
        output_names=list(parts.outputs),
        open_sizes={name: each.open(given) for name, each in zip(names, declared, strict=True)},
        takes_over=True,
    )
    origin = Origin(
        name=str(path),
        stem=path.stem,
        sha256=digest,
        architecture=path.stem,
        summary=f"{len(parts.steps)} operators, takes {_described(declared, given)}",
        remarks=(*remarks, *made.origin.remarks),
        facts={"file": path.name},
    )
    return replace(
        made,
        # As the file has them, so that a new file can take its place.
        inputs=tuple(
            replace(each, name=name) for each, name in zip(made.inputs, parts.inputs, strict=True)
        ),
        outputs=parts.outputs,
        origin=origin,
        reference=FileReference(path, len(parts.outputs), dtypes),
        files=tuple(files.values()),
    )


class FileReference(nn.Module):
    """Runs a file on its own runtime, as exactly as it can; a module without weights.

    Args:
        path: the file.
        outputs: number of its outputs.
        dtypes: types of its values.
    """

    def __init__(self, path: Path, outputs: int, dtypes: Collection[str]) -> None:
        super().__init__()
        self._path, self._outputs, self._dtypes = path, outputs, dtypes

    @cached_property
    def _session(self) -> Session:
        return open_exactly(self._path, self._dtypes)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "FileReference":
        return FileReference(self._path, self._outputs, self._dtypes)

    def forward(self, *tensors: Tensor) -> Any:
        """Run the file, and return its output or a tuple of its outputs."""
        ports = [port.name for port in self._session.inputs]
        given = {name: each.numpy() for name, each in zip(ports, tensors, strict=True)}
        found = self._session(given)
        outputs = [torch.from_numpy(np.array(found[name])) for name in self._session.outputs]
        tensors = tuple(each.float() if each.is_floating_point() else each for each in outputs)
        return tensors[0] if self._outputs == 1 else tensors


class _Declared:
    """An input as a file declares it."""

    def __init__(self, name: str, dtype: str, sizes: Sequence[int | str | None]) -> None:
        self.name, self.dtype, self.sizes = name, dtype, tuple(sizes)

    @classmethod
    def of(cls, value: Any, path: Path) -> "_Declared":
        try:
            dtype = type_of(value)
        except InputError as error:
            raise InputError(
                f"{path} takes an input that PyTorch does not compute with ({error}): change it."
            ) from error
        if value.shape is None:
            raise InputError(
                f"{path} does not state the shape of its input {value.name}: export it again."
            )
        stated = [each if isinstance(each, int) else each.value for each in value.shape]
        # Some exporters write -1 for an open size, and ONNX Runtime accepts that.
        sizes = [None if isinstance(each, int) and each < 0 else each for each in stated]
        if math.prod(each for each in sizes if isinstance(each, int)) > _MOST_ELEMENTS:
            raise InputError(
                f"{path} takes more than {_MOST_ELEMENTS:,} numbers as {value.name}: export it for "
                f"smaller inputs."
            )
        return cls(value.name, dtype, sizes)

    @property
    def is_batched(self) -> bool:
        """Whether the first size alone is open."""
        return bool(self.sizes) and not isinstance(self.sizes[0], int)

    def __str__(self) -> str:
        return "x".join(str(each or "?") for each in self.sizes)

    def allows(self, given: InputText) -> bool:
        """Whether sizes agree with the declared ones, and are open only where those are."""
        return len(given.shape) == len(self.sizes) and all(
            not isinstance(own, int) or (own == size and axis not in given.open)
            for axis, (own, size) in enumerate(zip(self.sizes, given.shape, strict=True))
        )

    def needs_sizes(self) -> bool:
        return any(not isinstance(each, int) for each in self.sizes[1:])

    def shape(self, given: Mapping[str, InputText], batch: int = 1) -> tuple[int, ...]:
        if self.name in given:
            return given[self.name].shape
        return tuple(each if isinstance(each, int) else batch for each in self.sizes)

    def open(self, given: Mapping[str, InputText]) -> dict[int, str]:
        if self.name in given:
            return dict(given[self.name].open)
        return {0: BATCH_NAME} if self.is_batched else {}

    def example(self, given: Mapping[str, InputText], batch: int = 1) -> np.ndarray[Any, Any]:
        shape = self.shape(given, batch)
        if self.dtype.startswith("float"):
            return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return np.zeros(shape, self.dtype)


def _given(
    texts: Sequence[str], declared: Sequence[_Declared], path: Path, option: str
) -> dict[str, InputText]:
    found: dict[str, InputText] = {}
    for place, text in enumerate(texts):
        # Foreign files have names such as "input.1", which `InputText` refuses.
        name, _, sizes = text.rpartition("=")
        parsed = InputText.parse(sizes)
        name = name or (declared[place].name if place < len(declared) else "")
        port = next((each for each in declared if each.name == name), None)
        if port is None:
            known = ", ".join(each.name for each in declared)
            raise InputError(f"{path} has no input {name or place + 1}: it has {known}.")
        if sizes.endswith(f":{parsed.dtype}"):
            raise InputError(f"{option} {text} has a type, which {path} states: leave it out.")
        if not port.allows(parsed):
            raise InputError(f"The input {name} of {path} is {port}: give sizes that fit.")
        found[name] = parsed
    for port in declared:
        if port.needs_sizes() and port.name not in found:
            raise InputError(
                f"{path} leaves sizes of its input {port.name} open ({port}): give them as "
                f"{option} {port.name}=1x3x224x224."
            )
    return found


@torch.no_grad()
def _with_attentions(
    parts: GraphParts, declared: Sequence[_Declared], given: Mapping[str, InputText]
) -> tuple[str, ...]:
    """Cut the attentions out of a graph, and return what looks like one and was left."""
    is_batch_open = any(0 in each.open(given) for each in declared)
    observed = []
    module = parts.module().eval()
    for batch in _BATCHES if is_batch_open else (1,):
        examples = {
            each.name: torch.from_numpy(_batched(each, given, batch if is_batch_open else 0))
            for each in declared
        }
        values: dict[str, Any] = {}

        def keep(name: str, value: Any, values: dict[str, Any] = values) -> None:
            # Shapes and host values; tensors would hold the memory of a whole run.
            values[name] = value.shape if isinstance(value, Tensor) else value

        module.run(examples, keep)
        observed.append(values)
    opened = {name for each in declared for name in each.open(given).values()}
    if opened <= {BATCH_NAME}:
        freeze_sizes(parts, observed)
    shapes = {
        name: tuple(value) for name, value in observed[0].items() if isinstance(value, torch.Size)
    }
    join_slices(parts, shapes)
    unflatten_rows(parts, shapes)
    left = cut_attentions(parts, shapes, is_batch_open)
    return tuple(_remarks(left))


def _remarks(left: Sequence[UncutAttention]) -> Iterator[str]:
    """Yield what looks like an attention and was left, one sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for each in left:
        reasons.setdefault(each.reason, []).append(each.name)
    for reason, names in reasons.items():
        others = len(names) - _NAMED
        more = f" and {others} others" if others > 0 else ""
        what = (
            "look like slide attentions and were"
            if names[1:]
            else "looks like a slide attention and was"
        )
        yield f"{', '.join(names[:_NAMED])}{more} {what} left: {reason}"


def _batched(
    declared: _Declared, given: Mapping[str, InputText], batch: int
) -> np.ndarray[Any, Any]:
    example = declared.example(given)
    if batch and 0 in declared.open(given):
        return np.repeat(example[:1], batch, axis=0)
    return example


def _described(declared: Sequence[_Declared], given: Mapping[str, InputText]) -> str:
    return ", ".join(f"{each.name} {'x'.join(map(str, each.shape(given)))}" for each in declared)
