"""The jobs of an export: each lowers, writes and verifies the file of one format."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from exporters.base import Exporter, ExportRequest, Traces, quiet
from exporters.declarations import request_declarations
from exporters.images import folded_where, image_metadata, with_ends
from exporters.manifest import metadata_of
from exporters.outcome import ExportedFile, ExportOptions
from exporters.price import Price
from exporters.quantisation.accuracy import AccuracyTrial, keep_drop
from exporters.quantisation.examples import Calibration
from exporters.quantisation.judge import Judge
from exporters.quantisation.layers import layer_names
from exporters.quantisation.making import Making, write
from exporters.quantisation.overflow_repair import first_wrong, repair_overflow
from slide_deploy.backends.opening import target_for
from slide_deploy.backends.registry import target_named
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.companions import digest_of, digests_of, parts_of
from slide_deploy.files.hashing import sha256
from slide_deploy.graph_checks import check_graph, inspect, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import CALIBRATION_KEY
from slide_deploy.lowerings import (
    DEFAULT_LOWERING,
    FORMS,
    Lowering,
    chosen,
    for_file,
    lower,
)
from slide_deploy.precisions import precision_named
from slide_deploy.process import interruption
from slide_deploy.terminal.progress import expect
from slide_deploy.verification.cases import Case
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.reference_outputs.making import (
    FileInterface,
    interface_of,
    store_reference,
)
from slide_deploy.verification.trained_outputs import TrainedReference
from slide_deploy.verification.verify import open_to_prove, verify_session

Progress = Callable[[str], None]


@dataclass(frozen=True)
class JobProof:
    """What the files of an export are verified against.

    Attributes:
        cases: inputs to verify on.
        reference: outputs of the trained network in float64 for the cases.
        calibration: the calibration set, for precisions that need one.
        judge: measures the accuracy of a file; None without ``--max-drop``.
        shown: inputs on which values are checked for float16 overflow: the cases, and calibration
            examples if there are some.
    """

    cases: Sequence[Case]
    reference: TrainedReference
    calibration: Calibration | None = None
    judge: Judge | None = None
    shown: Sequence[Case] = ()


@dataclass(frozen=True)
class Job:
    """One file to write; jobs with equal lowerings and passes share the request.

    Attributes:
        exporter: exporter of the format.
        request: what to write.
        lowerings: the lowering of each attention, by its name.
        takes_pictures: whether the file takes an image type of the system instead of a tensor.
    """

    exporter: Exporter
    request: ExportRequest
    lowerings: Mapping[str, Lowering]
    takes_pictures: bool = False


def jobs_of(
    deployable: Deployable,
    folded: nn.Module,
    exporters: Sequence[Exporter],
    options: ExportOptions,
    calibration: Calibration | None = None,
) -> list[Job]:
    """Return the job of every format, with the lowerings that were chosen for it.

    Args:
        deployable: the network.
        folded: its folded model.
        exporters: exporters of the formats.
        options: options of the export.
        calibration: calibration set of the export; calibrated files store its hash.

    Raises:
        InputError: if a lowering cannot express an attention, or a format cannot express the
            network.
    """
    jobs: list[Job] = []
    provenance: dict[str, str] = {}
    if calibration is not None and precision_named(options.precision).is_calibrated:
        provenance[CALIBRATION_KEY] = calibration.sha256
    for exporter in exporters:
        lowerings = _lowerings(deployable, folded, exporter, options)
        # Tracing takes seconds, so formats with equal lowerings share a trace.
        pictures = exporter.record.takes_pictures and options.preprocessing.embedded
        alike = [
            job.request
            for job in jobs
            if job.lowerings == lowerings and job.takes_pictures == pictures
        ]
        passes = exporter.passes(options.precision)
        request = next((each for each in alike if each.passes == passes), None)
        if request is None:
            traces = alike[0].traces if alike else None
            if traces is None:
                lowered = replace(deployable, model=lower(folded, lowerings, share_weights=True))
                traces = Traces(with_ends(lowered, options, exporter.record))
            request = _request(deployable, traces, folded, lowerings, exporter, options, provenance)
        else:
            exporter.refuse(request)  # formats have different limits
        jobs.append(Job(exporter, request, lowerings, pictures))
    return jobs


def _request(
    plain: Deployable,
    traces: Traces,
    folded: nn.Module,
    lowerings: Mapping[str, Lowering],
    exporter: Exporter,
    options: ExportOptions,
    provenance: Mapping[str, str],
) -> ExportRequest:
    metadata = {**metadata_of(traces.deployable), **provenance}
    metadata |= image_metadata(plain, traces.deployable, options, exporter.record)
    request = ExportRequest(traces, metadata, options.precision, exporter.passes(options.precision))
    exporter.refuse(request)
    with interruption.unswallowed(), quiet():
        metadata |= request_declarations(request, folded, lowerings)
    return request


def _lowerings(
    deployable: Deployable, folded: nn.Module, exporter: Exporter, options: ExportOptions
) -> dict[str, Lowering]:
    lowerings = chosen(folded, for_file(options.lowering, exporter.format, options.precision))
    if set(deployable.open_names) <= {BATCH_NAME}:
        return lowerings
    if isinstance(options.lowering, Lowering):
        _refuse_open(options.lowering)
    return {name: _for_open_maps(each, exporter) for name, each in lowerings.items()}


def _refuse_open(lowering: Lowering) -> None:
    """Refuse a requested lowering that does not support feature maps of any size."""
    if lowering.strips > 1:
        raise InputError(
            f"{lowering} cuts feature maps into strips, which needs a fixed height: leave the "
            f"image size fixed, or name a form without strips."
        )
    if not FORMS[lowering.form].any_map_size:
        able = ", ".join(name for name, form in FORMS.items() if form.any_map_size)
        raise InputError(
            f"{lowering} needs feature maps of a fixed size: leave the image size fixed, or choose "
            f"one of {able}."
        )


def _for_open_maps(lowering: Lowering, exporter: Exporter) -> Lowering:
    """Return the chosen lowering, or a form that supports feature maps of any size."""
    if FORMS[lowering.form].any_map_size:
        return replace(lowering, strips=1)
    default = exporter.record.default_form
    form = default if FORMS[default].any_map_size else DEFAULT_LOWERING.form
    return Lowering(form, source=f"{lowering.form} is fastest, but needs a fixed image size")


def write_and_verify(
    job: Job,
    stem: Path,
    proof: JobProof,
    options: ExportOptions,
    progress: Progress,
) -> ExportedFile:
    """Write a file, read it back, verify its outputs and check it against the policy.

    Args:
        job: what to write.
        stem: path of the file without its suffix.
        proof: what the file is verified against.
        options: options of the export.
        progress: called with each step as it starts.

    Raises:
        InputError: if the converter fails, or the runtime cannot load or run the file.
    """
    started = time.perf_counter()
    exporter, request = job.exporter, job.request
    progress(f"write {exporter.format}")
    path = exporter.paths(stem)[0]
    making = write(exporter, request, path, proof.shown, proof.calibration, progress)
    price = None if making is None else _price(making, request, proof, progress)
    kept, wrong_at = making.kept if making is not None else (), ""
    rewrites = request.reports
    preprocessing = folded_where(request.program, rewrites, request.deployable)
    precision = precision_named(request.precision)
    unproven = exporter.unprovable()
    if unproven:
        verification = Verification((), precision.limit, "nothing", "here")
        names = _read_interface(path)
    else:
        progress(f"verify {exporter.format}")
        verification, names = _verified(path, request, proof)
    if not unproven and precision.can_overflow and not verification.passed:
        source = None if making is None else making.source
        if making is None and exporter.can_keep:
            progress(f"find float16 overflow in {exporter.format}")
            source, kept = repair_overflow(exporter, request, path, proof.shown, precision)
            if kept:
                verification, names = _verified(path, request, proof)
        if source is not None and not verification.passed:
            failed = verification.failures
            cases, least = proof.shown, precision.layer_db
            wrong_at = first_wrong(source, path, request, cases, failed, least)
    elsewhere = {}
    for target in _other_targets(path, request.precision, options.verify_on):
        expect(progress, 1)
        progress(f"verify {exporter.format} on {target}")
        elsewhere[target], _ = _verified(path, request, proof, target)
    request.forget()
    paths = exporter.written(stem)
    graph = read_graph(path)
    digests = digests_of(parts_of(path, graph))
    reference = store_reference(
        path,
        digest_of(digests),
        names,
        request.deployable,
        proof.cases,
        proof.reference.outputs,
        request.precision,
    )
    return ExportedFile(
        format=exporter.format,
        paths=paths,
        sha256=tuple(digests.get(each.name) or sha256(each) for each in paths),
        reference=reference,
        lowerings=job.lowerings,
        rewrites=rewrites,
        size=sum(_size(each) for each in paths),
        operators=inspect(graph).operators,
        violations=tuple(check_graph(graph, options.policy or standard_ops())),
        verification=verification,
        seconds=time.perf_counter() - started,
        preprocessing=preprocessing,
        precision=request.precision,
        price=price,
        kept=kept,
        wrong_at=wrong_at,
        unproven=unproven,
        verified_on=elsewhere,
    )


def _price(
    making: Making, request: ExportRequest, proof: JobProof, progress: Progress
) -> Price | None:
    """Return the accuracy loss of a quantised file, after operators returned to float."""
    if proof.judge is None:
        return None
    operators = making.operators
    trial = AccuracyTrial(
        judge=proof.judge,
        verify=lambda path: _verified(path, request, proof)[0],
        layers=layer_names(request.program, read_graph(making.source), operators),
        progress=progress,
    )
    return keep_drop(making, operators, trial)


def _verified(
    path: Path, request: ExportRequest, proof: JobProof, target: str | None = None
) -> tuple[Verification, FileInterface]:
    """Verify a file against the network.

    Returns:
        The verdict, and the names of the file's inputs and outputs. The session, which holds its
        own copy of the weights, is released.
    """
    session = open_to_prove(path, request.precision, target)
    precision = precision_named(request.precision)
    references = proof.reference.outputs
    verdict = verify_session(session, request.deployable, proof.cases, references, precision)
    return verdict, interface_of(session)


def _read_interface(path: Path) -> FileInterface:
    """Return the input and output names of a file that no runtime here can run."""
    graph = read_graph(path)
    inputs, outputs = (tuple(each.name for each in side) for side in (graph.inputs, graph.outputs))
    return FileInterface(inputs, outputs, graph.metadata)


def _other_targets(path: Path, precision: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the requested targets that can run a file, without its own target, each once."""
    own = target_for(path, precision).name
    return tuple(
        name
        for name in dict.fromkeys(names)
        if name != own and path.suffix in target_named(name).suffixes
    )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
