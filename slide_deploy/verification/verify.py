"""Verify a file against its network, and find the first layer that diverges."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from slide_deploy.backends import Port, Session, open_file, values_of
from slide_deploy.backends.base import Feeds
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.pixels import with_preprocessing, with_softmax
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.sizes import with_sizes
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.interface import read_interface
from slide_deploy.images.description import ImageDescription, Preprocessing, read_description
from slide_deploy.precisions import Precision, precision_named
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.verification import parity
from slide_deploy.verification.cases import Case, NamedOutputs, verification_cases
from slide_deploy.verification.divergence import Divergence, first_divergence
from slide_deploy.verification.noise import noise_by_layer
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.trained_outputs import layer_outputs, trained_outputs


@torch_defaults()
def verify_file(
    path: Path,
    deployable: Deployable,
    precision: str = "float32",
    examples: Sequence[Case] | None = None,
    target: str | None = None,
) -> Verification:
    """Run a file and compare its outputs with those of the trained network in float64.

    Args:
        path: the written file.
        deployable: the network that it must agree with.
        precision: one of ``slide_deploy.precisions``. It sets the limit, and the precision in
            which the runtime has to compute. What the file claims does not count.
        examples: cases to compare on instead of the generated ones.
        target: name of the target that runs the file, see ``slide_deploy.backends``; None for the
            format's own.

    Raises:
        InputError: if the file cannot be run, if its inputs are not those of the network, or if
            the runtime does not compute in that precision.
    """
    record = precision_named(precision)
    session = open_to_prove(path, record.name, target)
    adapted = with_sizes_of(path, session, with_image_steps(session, deployable))
    cases = (
        verification_cases(adapted.inputs, adapted.sizes) if examples is None else tuple(examples)
    )
    return verify_session(session, adapted, cases, trained_outputs(adapted, cases).outputs, record)


def verify_session(
    session: Session,
    deployable: Deployable,
    cases: Sequence[Case],
    references: Sequence[NamedOutputs],
    precision: Precision,
) -> Verification:
    """Run an opened file and compare its outputs with the reference of each case."""
    return parity.verify(
        lambda feeds: outputs_of(session, deployable, feeds),
        cases,
        references,
        runtime=session.runtime,
        version=session.version,
        limit=precision.limit,
    )


def open_to_prove(path: Path, precision: str, target: str | None = None) -> Session:
    """Open a file on a target, with the file's own metadata.

    A runtime of another format drops the exporter's metadata, so it is read from the graph.

    Raises:
        InputError: if the file cannot be opened there, or if the target is not available.
    """
    session = open_file(path, precision, target)
    return session if target is None else replace(session, metadata=read_graph(path).metadata)


def outputs_of(session: Session, deployable: Deployable, feeds: Feeds) -> NamedOutputs:
    """Run a file and return its outputs under the network's names.

    Inputs and outputs with other names are matched by order, if there are as many.
    """
    given = session(feeds_of(session, deployable, feeds))
    return {name: given[output] for name, output in paired(deployable.outputs, session.outputs)}


def feeds_of(session: Session, deployable: Deployable, feeds: Feeds) -> Feeds:
    """Convert a network's inputs to the names and the image layout of a file."""
    names = [each.name for each in deployable.inputs]
    ports = [port.name for port in session.inputs]
    return _as_taken(session, {port: feeds[name] for name, port in paired(names, ports)})


def _as_taken(session: Session, feeds: Feeds) -> Feeds:
    """Convert RGB pixels (batch, channels, height, width) to the file's image layout."""
    described = read_description(session.metadata)
    if described is None or not described.inside or described.input not in feeds:
        return feeds
    return {**feeds, described.input: described.given(feeds[described.input])}


def with_image_steps(session: Session, deployable: Deployable) -> Deployable:
    """Add the image steps that a file contains to the network: normalisation and softmax.

    Pixels are RGB (batch, channels, height, width), whatever layout the file takes.

    Raises:
        InputError: if the network takes no image, or if the file's metadata is invalid.
    """
    described = read_description(session.metadata)
    if described is None:
        return deployable
    if described.probabilities and described.output not in deployable.outputs:
        deployable = with_softmax(deployable)
    if not described.inside or any(each.pixels for each in deployable.inputs):
        return deployable
    return with_preprocessing(deployable, Preprocessing(described.mean, described.deviation, True))


def paired(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, str]]:
    """Pair a network's names with a file's: equal names first, the rest by order."""
    others = iter([name for name in theirs if name not in ours])
    pairs = ((name, name if name in theirs else next(others, None)) for name in ours)
    return [(name, other) for name, other in pairs if other is not None]


def with_sizes_of(path: Path, session: Session, deployable: Deployable) -> Deployable:
    """Give the network the open sizes and the fixed batch of a file.

    Raises:
        InputError: if the file has other inputs or outputs than the network.
    """
    if len(session.inputs) != len(deployable.inputs):
        raise InputError(
            f"{path} takes {_listed(session.inputs)} and {deployable.origin.name} takes "
            f"{', '.join(each.name for each in deployable.inputs)}: name the network that the file "
            f"was exported from."
        )
    gives = deployable.outputs
    if len(session.outputs) != len(gives) and not set(gives) <= set(session.outputs):
        raise InputError(
            f"{path} gives {', '.join(session.outputs)} and {deployable.origin.name} gives "
            f"{', '.join(gives)}: name the network that the file was exported from."
        )
    names = [each.name for each in deployable.inputs]
    described = read_description(session.metadata)
    ports = {port.name: _channels_first(port, described) for port in session.inputs}
    pairs = paired(names, list(ports))
    declared = _declared(path)
    if described is not None and described.input in declared:
        declared[described.input] = described.channels_first(declared[described.input])
    inputs = _named_apart(
        _as_in_file(path, ports[port], each, declared.get(port, ()), deployable.origin.name)
        for each, (_, port) in zip(deployable.inputs, pairs, strict=True)
    )
    if [each.shape for each in inputs] == [each.shape for each in deployable.inputs]:
        return deployable
    return with_sizes(replace(deployable, inputs=inputs, sizes={}))


def _channels_first(port: Port, described: ImageDescription | None) -> Port:
    """An input port in NCHW layout, which the network takes."""
    if described is None or port.name != described.input:
        return port
    return replace(port, shape=described.channels_first(port.shape))


def _named_apart(inputs: Iterable[Input]) -> tuple[Input, ...]:
    """Rename open sizes so that two of them share a name only if they are equal."""
    found = tuple(inputs)
    sizes: dict[str, set[int]] = {}
    for each in found:
        for axis, name in each.open.items():
            sizes.setdefault(name, set()).add(each.example.shape[axis])
    return tuple(
        replace(
            each,
            open={
                axis: name if len(sizes[name]) == 1 else f"{each.name}_{name}"
                for axis, name in each.open.items()
            },
        )
        for each in found
    )


def _declared(path: Path) -> dict[str, tuple[int | str, ...]]:
    """The input shapes that an exported file declares, with the names of open sizes."""
    try:
        interface = read_interface(read_graph(path).metadata)
    except ValueError:  # the graph rules report invalid metadata
        return {}
    return {port.name: port.shape for port in interface.inputs} if interface else {}


def _as_in_file(
    path: Path, port: Port, ours: Input, declared: tuple[int | str, ...], title: str
) -> Input:
    """Give an input of the network the batch and the open sizes that it has in a file.

    A size may be open if it is open in the network or in the exported file.
    """
    example = ours.example
    fixed_batch = port.shape[0] if port.shape else None
    if fixed_batch is not None and example.ndim and fixed_batch != example.shape[0]:
        ours = replace(ours, open={0: BATCH_NAME}).resized({BATCH_NAME: fixed_batch})
    sizes = ours.example.shape
    fits = len(port.shape) == len(sizes) and all(
        size in (None, wanted) for size, wanted in zip(port.shape, sizes, strict=True)
    )
    if not fits:
        raise InputError(
            f"{path} takes {port.name} as {_by(port.shape)} and {title} takes {ours.name} as "
            f"{_by(example.shape)}: name the network that the file was exported from, and give the "
            f"sizes of the export."
        )
    open_sizes: dict[int, str] = {}
    for axis, size in enumerate(port.shape):
        if size is not None:
            continue
        name = ours.open.get(axis) or next(iter(declared[axis : axis + 1]), None)
        if axis and not isinstance(name, str):
            raise InputError(
                f"{path} leaves size {axis} of {port.name} open ({_by(port.shape)}) and {title} is "
                f"given as {_by(example.shape)}: name that size if it is open, as in "
                f"--input {ours.name}=1x3xheight:64xwidth:64, or export the file again."
            )
        open_sizes[axis] = name if isinstance(name, str) else BATCH_NAME
    return replace(ours, open=open_sizes)


def names_another_origin(path: Path, deployable: Deployable) -> bool:
    """Whether a file's metadata names another checkpoint or other weights as its source."""
    ours = deployable.origin.sha256
    return read_graph(path).metadata.get("slide_deploy.source_sha256", ours) != ours


@torch_defaults()
def locate(path: Path, deployable: Deployable, precision: str = "float32") -> Divergence:
    """Find the first layer whose output a file computes differently.

    Args:
        path: the written file.
        deployable: the network that it must agree with.
        precision: one of ``slide_deploy.precisions``. For quantised precisions the noise of each
            layer is measured as well.

    Raises:
        InputError: if the file cannot be run.
    """
    known = precision_named(precision)
    session = open_file(path)
    adapted = with_sizes_of(path, session, with_image_steps(session, deployable))
    case = verification_cases(adapted.inputs)[0]
    names = [each.name for each in adapted.inputs]
    pairs = paired(names, [port.name for port in session.inputs])
    feeds = _as_taken(session, {port: case.inputs[name] for name, port in pairs})
    layers, values = layer_outputs(adapted, case), values_of(path, feeds)
    found = first_divergence(layers, values, known.layer_db)
    if not known.is_quantised:
        return found
    given = {f"input {name}": value for name, value in case.inputs.items()}
    return replace(found, noise=noise_by_layer(layers, {**given, **values}, known.layer_db))


def _listed(ports: tuple[Port, ...]) -> str:
    return ", ".join(port.name for port in ports)


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"
