"""The export pipeline: fold, lower, write, read back, verify, check, write the manifest.

Files are written into a hidden folder inside the output folder and verified there. Only files that
pass are moved out (``slide_deploy.files.publishing``), so a final name never has a partial or wrong
file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporters.base import Exporter, exporter_for, require_targets
from exporters.images import refuse_labels, with_ends
from exporters.jobs import JobProof, Progress, jobs_of, write_and_verify
from exporters.manifest import entries_beside, manifest_of
from exporters.outcome import ExportedFile, ExportOptions, ExportResult
from exporters.plain import to_json
from exporters.quantisation.calibration import calibration_of, refuse_calibration
from exporters.quantisation.judge import judge_of, labelled_pictures
from slide_deploy.deployable.feature_map_sizes import set_feature_map_sizes
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.folders import working_folder
from slide_deploy.files.publishing import (
    Publication,
    publication,
    refuse_inputs,
    refuse_occupied,
    require_names,
)
from slide_deploy.files.scratch import temporary_files_in
from slide_deploy.folding.model import reparameterize, with_branches
from slide_deploy.formats import format_named, refuse_delegate
from slide_deploy.lowerings import Lowering, refuse_strips
from slide_deploy.precisions import precision_named
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.terminal.progress import expect
from slide_deploy.verification.cases import Case, example_case, verification_cases
from slide_deploy.verification.trained_outputs import trained_outputs

# Number of examples for the overflow search, which reads every intermediate value: each example
# takes some seconds.
_SHOWN = 16


@torch_defaults()
def export(
    deployable: Deployable, options: ExportOptions, progress: Progress = lambda step: None
) -> ExportResult:
    """Write a network in every requested format, and verify each file.

    Args:
        deployable: the trained network.
        options: options of the export.
        progress: called with each step as it starts.

    Raises:
        InputError: if a format is unknown or cannot express the network, a library is missing,
            the folder is not writable, or a file exists and ``force`` is not set. Nothing new is
            left behind.
    """
    formats = dict.fromkeys(options.formats)
    refuse_delegate([format_named(format) for format in formats], options.delegate)
    exporters = [exporter_for(format, options.delegate) for format in formats]
    stem = deployable.origin.stem
    manifest = options.out / "manifest.json"
    _entries_to_keep(deployable, exporters, options)
    for exporter in exporters:
        exporter.require(options.precision)
        if exporter.unprovable() and not options.unproven:
            raise InputError(
                f"{exporter.unprovable()}, so that nobody can check the {exporter.format} file: "
                f"give --unproven to write it all the same, and verify it where it runs."
            )
    require_targets(exporters, options.verify_on)
    refuse_calibration(options)
    require_names(options.out, _names(deployable, exporters))
    if isinstance(options.lowering, Lowering):
        refuse_strips(deployable.model, options.lowering)

    refuse_labels(deployable, options.labels)
    # The reference network takes pixels as a plain tensor, in every format.
    taken = with_ends(deployable, options)
    calibration, precision = None, precision_named(options.precision)
    if options.calibration is not None:
        progress(f"find examples in {options.calibration}")
        calibration = calibration_of(deployable, options)
    pictures = labelled_pictures(deployable, options, calibration)
    judge = None
    if pictures is not None:
        expect(progress, 1)
        progress(f"evaluate the trained network on {len(pictures.pictures)} images")
        judge = judge_of(deployable, options, pictures)
    # This comes first, because the float64 network needs twice the memory of the float32 one.
    progress("reference outputs" if deployable.reference else "reference outputs in float64")
    cases = verification_cases(taken.inputs, taken.sizes)
    shown: tuple[Case, ...] = ()
    if calibration is not None and precision.is_calibrated:
        cases = (example_case("examples held back", calibration.held_back),)
    elif calibration is not None:
        shown = (example_case("examples", calibration.measured[:_SHOWN]),)
    reference = trained_outputs(taken, cases)
    progress("fold")
    folded, certificate = reparameterize(deployable.model, share_weights=True)
    set_feature_map_sizes(deployable, folded)
    jobs = jobs_of(deployable, folded, exporters, options, calibration)
    # All formats merge the same branches: they differ only in the attentions, which have none.
    certificate = with_branches(certificate, jobs[0].request.reports)
    del folded
    with working_folder(options.out) as work, temporary_files_in(work / "temporary"):
        written = []
        while jobs:  # releases each job, which has its own copies of weights
            job = jobs.pop(0)
            proof = JobProof(cases, reference, calibration, judge, (*cases, *shown))
            written.append(write_and_verify(job, work / stem, proof, options, progress))
            del job
        with publication(work) as moves:
            # Check again, because another export may have published meanwhile.
            others = _entries_to_keep(deployable, exporters, options)
            files = tuple(
                _publish(file, exporter.published(work / stem), options, moves)
                for exporter, file in zip(exporters, written, strict=True)
            )
            result = ExportResult(
                certificate,
                files,
                manifest,
                deployable.origin.name,
                (
                    *deployable.origin.remarks,
                    *reference.remarks,
                    *(() if calibration is None else calibration.remarks),
                    *_files_apart(files),
                ),
            )
            content = manifest_of(deployable, options, result, reference.dtype, others, calibration)
            (work / manifest.name).write_text(to_json(content))
            moves.put(manifest.name)
    return replace(result, files=tuple(_at(options.out, file) for file in files))


def _names(deployable: Deployable, exporters: Sequence[Exporter]) -> list[str]:
    """Return the names of the files that an export publishes."""
    stem = Path(deployable.origin.stem)
    published = [path.name for exporter in exporters for path in exporter.published(stem)]
    return ["manifest.json", *published]


def _entries_to_keep(
    deployable: Deployable, exporters: Sequence[Exporter], options: ExportOptions
) -> list[dict[str, Any]]:
    """Return the manifest entries of other files of the same network in the output folder.

    Raises:
        InputError: if a final name is taken, or the manifest is of another network.
    """
    manifest = options.out / "manifest.json"
    for exporter in exporters:
        published = exporter.published(options.out / deployable.origin.stem)
        refuse_inputs(published, deployable.files)
        refuse_occupied(published, options.force)
    if manifest.is_dir():
        raise InputError(f"{manifest} is a directory: remove it, or give another --out.")
    refuse_occupied([manifest], force=True)
    replaced = set(_names(deployable, exporters))
    return entries_beside(manifest, deployable.origin.sha256, replaced, options.force)


def _publish(
    written: ExportedFile, names: Sequence[Path], options: ExportOptions, moves: Publication
) -> ExportedFile:
    """Register the moves of a file to its final name; a failed file is removed instead.

    Args:
        written: the file in the working folder.
        names: every path that may be published for it, the model file first.
        options: options of the export.
        moves: of the publication.

    Returns:
        The file with the paths that will be published, still in the working folder.
    """
    # Remove older files even if nothing replaces them: a file of an earlier export, its weights or
    # its reference outputs would be mistaken for the new ones.
    for path in reversed(names):
        moves.clear(path.name)
    if not written.is_kept and not options.keep_failed:
        return replace(written, paths=(), sha256=(), reference=None)
    for path in written.paths:
        moves.put(path.name)
    if written.reference is not None:
        moves.put(written.reference.name)
    return written


def _files_apart(files: Sequence[ExportedFile]) -> Iterator[str]:
    """Yield a sentence for each file that holds the weights of another one."""
    for file in files:
        suffix = format_named(file.format).weights_apart
        for path in file.paths:
            if suffix and path.name.endswith(suffix):
                main = file.paths[0].name
                yield f"{path.name} holds the weights of {main}: keep the two in one folder"


def _at(out: Path, file: ExportedFile) -> ExportedFile:
    """Return a published file with its final paths."""
    reference = None if file.reference is None else out / file.reference.name
    return replace(file, paths=tuple(out / path.name for path in file.paths), reference=reference)
