"""Fold a network that is an ``.onnx`` file, and write it as a file again."""

import gc
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters.outcome import ExportOptions, ExportResult
from exporters.pipeline import export
from slide_deploy.errors import InputError
from slide_deploy.files.companions import graph_of, parts_of
from slide_deploy.files.folders import working_folder
from slide_deploy.files.publishing import publication, refuse_occupied, require_names
from slide_deploy.folding.merging import merge_branches
from slide_deploy.folding.model import Certificate, reparameterize, with_branches
from slide_deploy.formats import format_named, known_formats
from slide_deploy.onnx_network.deployable import deployable_onnx
from slide_deploy.onnx_network.reading import precision_of, read_model
from slide_deploy.tasks.options import AUTO, read_lowering

Progress = Callable[[str], None]

# Operators without which nothing can be folded: a slide attention has a softmax, and branches are
# convolutions, normalisations and poolings.
_FOLDABLE = {"Softmax", "Conv", "BatchNormalization", "AveragePool"}
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
    format = _format(output, to)
    _refuse_same(source, output)
    model = read_model(source)
    precision = precision or precision_of(model)
    can_fold = any(node.op_type in _FOLDABLE for node in model.graph)
    del model
    gc.collect()  # a graph refers to itself, and holds the stored weights
    refuse_occupied([output], force)
    require_names(output.parent, [output.name], "--output")
    if not can_fold and format == "onnx":
        return _copied(source, output, _EMPTY, (), force)
    progress(f"load {source.name}")
    network = deployable_onnx(source, inputs)
    progress("find what can be folded")
    folded, certificate = reparameterize(network.model)
    _, reports = merge_branches(folded, *network.call.arguments(network.examples), any_size=False)
    certificate = with_branches(certificate, reports)
    del folded
    remarks = network.origin.remarks
    if format == "onnx" and not (certificate.folded or certificate.merged):
        return _copied(source, output, certificate, remarks, force)
    network = replace(network, origin=replace(network.origin, stem=output.stem))
    with working_folder(output.parent, "--output") as work:
        options = ExportOptions(
            formats=(format,),
            out=work / "made",
            lowering=read_lowering(lowering or AUTO),
            precision=precision,
        )
        result = export(network, options, progress)
        paths = result.files[0].paths
        with publication(work) as moves:
            refuse_occupied([output], force)
            for path in paths:
                path.rename(work / path.name)
                moves.put(path.name)
    return FoldedFile(output, result.certificate, (*remarks, *result.remarks), result)


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


def _refuse_same(source: Path, output: Path) -> None:
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"--output {output} is the file to fold: give another name.")


def _copied(
    source: Path, output: Path, certificate: Certificate, remarks: tuple[str, ...], force: bool
) -> FoldedFile:
    """Copy a file with the data that it names, which keeps its own name."""
    parts = parts_of(source, graph_of(source))
    with working_folder(output.parent, "--output") as work:
        names = []
        for name, part in parts.items():
            ours = output.name if part == source else name
            if part != source and (output.parent / name).exists():
                if (output.parent / name).samefile(part):
                    continue  # the copy lies beside the input file, and shares its data
                refuse_occupied([output.parent / name], force)
            (work / ours).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, work / ours)
            names.append(Path(ours).parts[0])
        with publication(work) as moves:
            refuse_occupied([output], force)
            for each in dict.fromkeys(reversed(names)):
                moves.put(each)
    return FoldedFile(output, certificate, remarks, None)
