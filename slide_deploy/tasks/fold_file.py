"""Fold a network that is an ``.onnx`` file, and write it as a file again."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters.base import exporter_for
from exporters.onnx_ends import retype_ends
from exporters.outcome import ExportOptions, ExportResult
from exporters.pipeline import export
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.companions import parts_of
from slide_deploy.files.folders import working_folder
from slide_deploy.files.hashing import sha256
from slide_deploy.files.publishing import (
    publication,
    refuse_inputs,
    refuse_occupied,
    require_names,
)
from slide_deploy.folding.merging import merge_branches
from slide_deploy.folding.model import Certificate, reparameterize, with_branches
from slide_deploy.formats import format_named, known_formats
from slide_deploy.graph_checks import Graph, inspect, read_graph
from slide_deploy.onnx_network.deployable import deployable_onnx
from slide_deploy.onnx_network.reading import forget_graphs, read_model
from slide_deploy.tasks.options import AUTO, read_lowering
from slide_deploy.verification.verify import verify_file

Progress = Callable[[str], None]

# Operators without which nothing can be folded: a slide attention has a softmax, and branches are
# convolutions, normalisations and poolings.
_FOLDABLE = {"Softmax", "Conv", "BatchNormalization", "AveragePool"}
_CONTROL_FLOW = {"If", "Loop", "Scan"}
# Types of inputs and outputs other than the float32 that exporters write.
_OTHER_FLOATS = {"float16", "float64"}
_BFLOAT16 = (
    "inputs and outputs that were bfloat16 are float32, because no runtime here takes bfloat16"
)
_EMPTY = Certificate((), ())


@dataclass(frozen=True)
class FoldedFile:
    """The result of folding a file.

    Attributes:
        path: the written file.
        certificate: what was folded and merged, and what was left with the reason.
        remarks: what a user should know, sentences without a full stop.
        export: how the file was written and verified; None if the input file was copied because
            there was nothing to fold.
    """

    path: Path
    certificate: Certificate
    remarks: tuple[str, ...]
    export: ExportResult | None

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is a copy of the input file."""
        return self.export is None

    @property
    def passed(self) -> bool:
        """Whether the written file agrees with the input file; true for a copy."""
        return self.export is None or self.export.passed


def fold_file(
    source: Path,
    output: Path,
    *,
    to: str | None = None,
    lowering: str | None = None,
    precision: str | None = None,
    inputs: Sequence[str] = (),
    force: bool = False,
    progress: Progress = lambda step: None,
) -> FoldedFile:
    """Fold the branches of a network in a file, and write the folded network.

    The written file is verified against the input file, which ONNX Runtime runs in float32 without
    optimising its graph. If there is nothing to fold, an ``.onnx`` file is copied byte for byte.

    Args:
        source: the ``.onnx`` file.
        output: file to write.
        to: format of the output. Default: the format that its suffix belongs to.
        lowering: form of the slide attentions; default: the one measured fastest.
        precision: precision of the written file. Default: that of the input file.
        inputs: sizes that the file leaves open, as ``--input`` takes them.
        force: replace existing files.
        progress: called with each step as it starts.

    Raises:
        InputError: if the file cannot be read or folded, or the output cannot be written. Nothing
            new is left behind.
    """
    format, form = _format(output, to), read_lowering(lowering or AUTO)
    is_same_format = format_named(format).is_source
    graph = read_graph(source)
    parts = parts_of(source, graph)
    written = exporter_for(format).paths(output.with_suffix(""))
    refuse_inputs(written, list(parts.values()), "--output")
    precision = precision or _precision(graph)
    operators = {node.operator for node in graph.nodes}
    if graph.functions or operators & _CONTROL_FLOW:  # whose operators are no part of the graph
        operators = {node.op_type for node in read_model(source).graph}
        forget_graphs()
    can_fold = not operators.isdisjoint(_FOLDABLE)
    types = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs)}
    del graph
    stale = written[1:] if is_same_format else ()  # the weights of an older file
    refuse_occupied(written, force, "--output", stale)
    require_names(output.parent, [each.name for each in written], "--output")
    if not can_fold and is_same_format:
        return _copied(parts, stale, output, _EMPTY, (), force)
    progress(f"load {source.name}")
    network = deployable_onnx(source, inputs)
    progress("find what can be folded")
    folded, certificate = reparameterize(network.model, share_weights=True)
    _, reports = merge_branches(folded, *network.call.arguments(network.examples), any_size=False)
    certificate = with_branches(certificate, reports)
    del folded
    remarks = network.origin.remarks
    if is_same_format and not (certificate.folded or certificate.merged):
        return _copied(parts, stale, output, certificate, remarks, force)
    network = replace(network, origin=replace(network.origin, stem=output.stem))
    with working_folder(output.parent, "--output") as work:
        options = ExportOptions(
            formats=(format,),
            out=work / "made",
            lowering=form,
            precision=precision,
        )
        result = export(network, options, progress)
        if is_same_format:
            result = _with_types(result, types, network)
        paths = result.files[0].paths
        with publication(work) as moves:
            refuse_occupied(written if paths else (), force, "--output", stale)
            if paths:
                for each in written[1:]:
                    moves.clear(each.name)  # the weights of an older file
            for path in reversed(paths):  # the model file comes last, because it names the others
                path.rename(work / path.name)
                moves.put(path.name)
    remarks = result.remarks
    if paths and "bfloat16" in types.values():
        remarks = (*remarks, _BFLOAT16)
    return FoldedFile(output, result.certificate, remarks, result)


def _with_types(
    result: ExportResult, types: Mapping[str, str], network: Deployable
) -> ExportResult:
    """Give a written file the types of inputs and outputs of the input file.

    Args:
        result: the written file, whose inputs and outputs are float32.
        types: their types by name.
        network: the input file as a network.
    """
    (file,) = result.files
    if not file.paths or not _OTHER_FLOATS & set(types.values()):
        return result
    retype_ends(file.paths[0], types)
    path = file.paths[0]
    verification = verify_file(path, network, file.precision)
    file = replace(
        file,
        paths=file.paths if verification.passed else (),
        sha256=(sha256(path), *file.sha256[1:]),
        size=sum(each.stat().st_size for each in file.paths),
        operators=inspect(read_graph(path)).operators,
        verification=verification,
    )
    # What was remarked about the file is no longer true if it is removed.
    remarks = result.remarks if verification.passed else network.origin.remarks
    return replace(result, files=(file,), remarks=remarks)


def _precision(graph: Graph) -> str:
    """Return "float16" if most of the numbers in a file are stored in it, else "float32"."""
    sizes = {"float16": 0, "float32": 0}
    for each in graph.constants.values():
        if each.dtype in sizes:
            sizes[each.dtype] += math.prod(each.shape)
    return "float16" if sizes["float16"] > sizes["float32"] else "float32"


def _format(output: Path, to: str | None) -> str:
    """Return the format of the output.

    Raises:
        InputError: if its suffix belongs to no format, or to another one.
    """
    suffixes = {each.suffix: each.name for each in known_formats()}
    found = suffixes.get(output.suffix.lower())
    if to is not None and found != to:
        suffix = format_named(to).suffix
        raise InputError(f"--output {output} does not end in {suffix}: give such a name for {to}.")
    if found is None:
        raise InputError(
            f"--output {output} ends in no known suffix: give a name that ends in "
            f"{' or '.join(suffixes)}."
        )
    return found


def _copied(
    parts: Mapping[str, Path],
    stale: Sequence[Path],
    output: Path,
    certificate: Certificate,
    remarks: tuple[str, ...],
    force: bool,
) -> FoldedFile:
    """Copy a file with the data that it names, which keeps its own name.

    Args:
        parts: the file, and its data, by path relative to its folder.
        stale: other files of an older output; they are removed unless the copy replaces them.
        output: the copy.
        certificate: of the search for what can be folded.
        remarks: see ``FoldedFile``.
        force: replace existing files.

    Raises:
        InputError: if data would replace a file, or a folder that may hold other files.
    """
    source, *data = parts.values()
    to_copy = {output.name: source}
    for name, part in zip(list(parts)[1:], data, strict=True):
        place = output.parent / name
        if place.exists() and place.samefile(part):
            continue  # the copy lies beside the input file, and shares its data
        folder = output.parent / Path(name).parts[0]
        if folder != place and folder.exists():
            raise InputError(
                f"{folder} exists, and {source} has data in a folder of that name: give an "
                f"--output in another folder."
            )
        to_copy[name] = part
    final = [output.parent / name for name in to_copy]
    refuse_occupied(final, force, "--output")
    with working_folder(output.parent, "--output") as work:
        for name, part in to_copy.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, work / name)
        with publication(work) as moves:
            refuse_occupied(final, force, "--output")
            for each in stale:
                moves.clear(each.name)
            # The file comes last, because it names the others.
            for name in dict.fromkeys(Path(each).parts[0] for each in reversed(to_copy)):
                moves.put(name)
    return FoldedFile(output, certificate, remarks, None)
