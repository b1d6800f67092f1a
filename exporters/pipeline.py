"""The whole way: fold, lower, write, read back, verify, check, manifest.

Files are written into a hidden folder inside the output folder, verified there, and moved out only
when they are right (``publishing.py``): nobody ever finds half a file, or a wrong one, under its
final name.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from exporters.base import Exporter, ExportRequest
from exporters.declarations import request_declarations
from exporters.manifest import MANIFEST_VERSION, entries_beside, library_versions, to_json
from exporters.publishing import Publication, publication, refuse_occupied
from exporters.quiet import quiet
from exporters.registry import exporter_for
from slide_deploy import interruption
from slide_deploy.checkpoint import Checkpoint
from slide_deploy.errors import InputError
from slide_deploy.folders import require_writable_folder, working_folder
from slide_deploy.graph_checks import Violation, check_graph, inspect, read_graph, standard_ops
from slide_deploy.hashing import sha256
from slide_deploy.lowerings import (
    DEFAULT_LOWERING,
    FileChooser,
    Lowering,
    chosen,
    for_file,
    lower,
    refuse_strips,
)
from slide_deploy.models.backbone import backbone_of
from slide_deploy.parity import LIMITS, Answers, Case, Verification, verification_cases, verify
from slide_deploy.reference import reference_answers
from slide_deploy.reparameterize import Certificate, reparameterize
from slide_deploy.runtimes import open_file
from slide_deploy.runtimes.base import message_lines

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how.

    Args:
        formats: names of formats, each once.
        out: the folder to write into; made if missing.
        dynamic_batch: leave the batch open.
        lowering: of the slide attentions: one for all, or a function that is asked for each file.
        precision: "float32", "float16" or "mixed".
        force: replace files that exist.
        keep_failed: keep a file that fails verification, under its final name.
        features: write the maps of all stages in place of the logits.
    """

    formats: tuple[str, ...]
    out: Path
    dynamic_batch: bool = False
    lowering: Lowering | FileChooser = DEFAULT_LOWERING
    precision: str = "float32"
    force: bool = False
    keep_failed: bool = False
    features: bool = False


@dataclass(frozen=True)
class ExportedFile:
    """One format's outcome.

    Args:
        format: as the user named it.
        paths: what was written; empty where a file failed and was removed.
        sha256: of each path, in the same order.
        lowerings: of each slide attention, by its name.
        size: bytes of all of them.
        operators: how often each operator occurs, the most frequent first.
        violations: rules of the built-in policy that it breaks.
        verification: the verdict on its answers.
        seconds: writing and verifying.
    """

    format: str
    paths: tuple[Path, ...]
    sha256: tuple[str, ...]
    lowerings: Mapping[str, Lowering]
    size: int
    operators: tuple[tuple[str, int], ...]
    violations: tuple[Violation, ...]
    verification: Verification
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the file answers as it must and breaks no rule."""
        return self.verification.passed and not any(
            violation.severity == "error" for violation in self.violations
        )


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export."""

    certificate: Certificate
    files: tuple[ExportedFile, ...]
    manifest: Path

    @property
    def passed(self) -> bool:
        """Whether every file is right."""
        return all(file.passed for file in self.files)


def export(
    checkpoint: Checkpoint, options: ExportOptions, progress: Progress = lambda step: None
) -> ExportResult:
    """Write a checkpoint in every format that was asked for, and prove each file.

    Args:
        checkpoint: the trained model.
        options: what to write and how.
        progress: told of each step as it starts.

    Raises:
        InputError: if a format is unknown, a library is missing, the folder cannot be written to or
            a file exists and may not be replaced. Nothing new is left behind.
    """
    exporters = [exporter_for(format) for format in dict.fromkeys(options.formats)]
    stem = checkpoint.stem
    manifest = options.out / "manifest.json"
    _entries_to_keep(checkpoint, exporters, options)
    for exporter in exporters:
        exporter.require(options.precision)
    require_writable_folder(options.out)
    if isinstance(options.lowering, Lowering):
        refuse_strips(checkpoint.model, options.lowering)

    trained = backbone_of(checkpoint.model) if options.features else checkpoint.classifier()
    progress("fold")
    folded, certificate = reparameterize(trained)
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    jobs = _jobs(checkpoint, folded, shape, trained.output_names, exporters, options)
    del folded
    progress("reference answers in float64")
    cases = verification_cases(shape, options.dynamic_batch, config.patch_size)
    references = reference_answers(trained, cases)
    with working_folder(options.out) as work:
        written = [_write_and_verify(job, work / stem, cases, references, progress) for job in jobs]
        with publication(options.out) as moves:
            # Once more: another export may have published meanwhile.
            others = _entries_to_keep(checkpoint, exporters, options)
            files = tuple(_publish(file, options, moves) for file in written)
            result = ExportResult(certificate, files, manifest)
            draft = work / manifest.name
            draft.write_text(to_json(_manifest(checkpoint, options, result, others)))
            moves.put(draft, manifest)
    return result


def _entries_to_keep(
    checkpoint: Checkpoint, exporters: Sequence[Exporter], options: ExportOptions
) -> list[dict[str, object]]:
    """What the manifest in the output folder says of other formats of the same checkpoint.

    Raises:
        InputError: if a final name is taken, or the manifest is another checkpoint's.
    """
    manifest = options.out / "manifest.json"
    for exporter in exporters:
        refuse_occupied(exporter.paths(options.out / checkpoint.path.stem), options.force)
    if manifest.is_dir():
        raise InputError(f"{manifest} is a directory: remove it, or give another --out.")
    refuse_occupied([manifest], force=True)
    replaced = {exporter.format for exporter in exporters}
    return entries_beside(manifest, checkpoint.sha256, replaced, options.force)


@dataclass(frozen=True)
class _Job:
    """One file to write; jobs whose layers are written alike share the request."""

    exporter: Exporter
    request: ExportRequest
    lowerings: Mapping[str, Lowering]


def _jobs(
    checkpoint: Checkpoint,
    folded: nn.Module,
    shape: tuple[int, int, int],
    outputs: tuple[str, ...],
    exporters: Sequence[Exporter],
    options: ExportOptions,
) -> list[_Job]:
    """What to write for every format, lowered as it was chosen for that format."""
    jobs: list[_Job] = []
    for exporter in exporters:
        chooser = for_file(options.lowering, exporter.format, options.precision)
        lowerings = chosen(folded, chooser)
        alike = (
            job.request
            for job in jobs
            if (job.lowerings, job.exporter.traits) == (lowerings, exporter.traits)
        )
        # Tracing takes seconds, and a request traces its model once.
        request = next(alike, None)
        if request is None:
            metadata = _metadata(checkpoint)
            request = ExportRequest(
                lower(folded, lowerings, exporter.traits),
                shape,
                options.dynamic_batch,
                metadata,
                options.precision,
                outputs,
            )
            metadata.update(_declared(request, folded, lowerings, checkpoint))
        jobs.append(_Job(exporter, request, lowerings))
    return jobs


def _declared(
    request: ExportRequest,
    folded: nn.Module,
    lowerings: Mapping[str, Lowering],
    checkpoint: Checkpoint,
) -> dict[str, str]:
    """What a file says of its structure; the model is traced for it.

    Raises:
        InputError: if it cannot be traced.
    """
    try:
        with interruption.unswallowed(), quiet():
            return request_declarations(request, folded, lowerings)
    except Exception as error:  # torch.export answers with any type
        raise InputError(
            f"{checkpoint.path} cannot be traced with torch.export ({message_lines(error)[0]}): "
            f"see slide-deploy doctor for the versions that are installed."
        ) from error


def _write_and_verify(
    job: _Job,
    stem: Path,
    cases: Sequence[Case],
    references: Sequence[Answers],
    progress: Progress,
) -> ExportedFile:
    started = time.perf_counter()
    exporter, request = job.exporter, job.request
    progress(f"write {exporter.format}")
    paths = exporter.paths(stem)
    exporter.write(request, paths[0])
    progress(f"verify {exporter.format}")
    session = open_file(paths[0])
    verification = verify(
        session.answers,
        cases,
        references,
        runtime=session.runtime,
        version=session.version,
        limit=LIMITS[request.precision],
    )
    graph = read_graph(paths[0])
    return ExportedFile(
        format=exporter.format,
        paths=paths,
        sha256=tuple(sha256(path) for path in paths),
        lowerings=job.lowerings,
        size=sum(_size(path) for path in paths),
        operators=inspect(graph).operators,
        violations=tuple(check_graph(graph, standard_ops())),
        verification=verification,
        seconds=time.perf_counter() - started,
    )


def _publish(written: ExportedFile, options: ExportOptions, moves: Publication) -> ExportedFile:
    """Move a file to its final place, or leave it to vanish with the working folder."""
    finals = tuple(options.out / path.name for path in written.paths)
    if not written.passed and not options.keep_failed:
        # What stands there was to be replaced. It goes all the same: a file of an earlier export
        # would pass for the new one.
        for final in finals:
            moves.clear(final)
        return replace(written, paths=(), sha256=())
    for source, final in zip(written.paths, finals, strict=True):
        moves.put(source, final)
    return replace(written, paths=finals)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What every file says of where it comes from."""
    entries = {
        "architecture": checkpoint.architecture,
        "checkpoint_sha256": checkpoint.sha256,
        "image_size": "x".join(map(str, checkpoint.config.image_size)),
        "resized_position_tables": " ".join(checkpoint.resized),
        "versions": json.dumps(library_versions()),
    }
    return {f"slide_deploy.{key}": value for key, value in entries.items()}


def _manifest(
    checkpoint: Checkpoint,
    options: ExportOptions,
    result: ExportResult,
    others: list[dict[str, object]],
) -> dict[str, object]:
    return {
        "manifest_version": MANIFEST_VERSION,
        "checkpoint": {
            "file": checkpoint.path.name,
            "sha256": checkpoint.sha256,
            "entry": checkpoint.entry,
            "architecture": checkpoint.architecture,
            "settings": checkpoint.config,
            "trained_image_size": checkpoint.trained_size,
            "remarks": checkpoint.remarks,
            "left_out": checkpoint.left_out,
        },
        "certificate": {"status": result.certificate.status, "layers": result.certificate},
        "files": [
            *others,
            *(
                {
                    "format": file.format,
                    "lowerings": {name: str(lowering) for name, lowering in file.lowerings.items()},
                    "lowering_sources": {
                        name: lowering.source
                        for name, lowering in file.lowerings.items()
                        if lowering.source
                    },
                    "precision": options.precision,
                    "dynamic_batch": options.dynamic_batch,
                    "image_size": checkpoint.config.image_size,
                    "resized_position_tables": checkpoint.resized,
                    "outputs": file.verification.outputs,
                    "passed": file.passed,
                    "sha256": {
                        path.name: digest
                        for path, digest in zip(file.paths, file.sha256, strict=True)
                    },
                    "bytes": file.size,
                    "operators": dict(file.operators),
                    "violations": file.violations,
                    "verification": file.verification,
                }
                for file in result.files
            ),
        ],
        "versions": library_versions(),
    }
