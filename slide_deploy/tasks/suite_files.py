"""Makes the files of a benchmark suite with the project's own export."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy.errors import InputError
from slide_deploy.files.model_files import is_source
from slide_deploy.parsing import parse_size
from slide_deploy.precisions import FLOAT32, precision_named
from slide_deploy.tasks.options import AUTO, read_lowering

if TYPE_CHECKING:
    from benchmarks.suite import WantedFile
    from slide_deploy.deployable.record import Deployable

# Options of `slide-deploy export` that a suite may set, with their types.
OPTIONS: dict[str, type] = {"precision": str, "dynamic_batch": bool, "lowering": str}


def export_for_suite(wanted: "WantedFile", folder: Path) -> Path:
    """Write one file of a suite; see ``benchmarks.suite.Export``.

    Raises:
        InputError: if an option is unknown, or the model cannot be exported or fails verification.
    """
    for name, value in wanted.entry.export.items():
        if name not in OPTIONS or not isinstance(value, OPTIONS[name]):
            known = ", ".join(OPTIONS)
            raise InputError(f"export = {{ {name} = {value!r} }} is not an option: give {known}.")
    if wanted.entry.attention is not None:
        return _attention(wanted, folder)
    return _network(wanted, folder)


def _network(wanted: "WantedFile", folder: Path) -> Path:
    """Export a checkpoint or a user's network, with the verification of ``slide-deploy export``."""
    from exporters.outcome import ExportOptions
    from exporters.pipeline import export
    from exporters.quantisation.noise import write_noise

    given: dict[str, Any] = dict(wanted.entry.export)
    trained = _trained(wanted, folder, given.pop("dynamic_batch", False))
    given["lowering"] = read_lowering(given.get("lowering", AUTO))
    if precision_named(given.get("precision", FLOAT32.name)).is_calibrated:
        given["calibration"] = write_noise(trained, folder / "noise.npz")
    options = ExportOptions((wanted.format,), folder, force=True, **given)
    result = export(trained, options)
    (file,) = result.files
    if not result.passed:
        raise InputError(
            f"{trained.origin.name} exported to {wanted.format} does not pass: slide-deploy export "
            f"says why."
        )
    return file.paths[0]


def _trained(wanted: "WantedFile", folder: Path, dynamic_batch: bool) -> "Deployable":
    from slide_deploy.deployable.factory import deployable_factory
    from slide_deploy.deployable.trained import deployable_checkpoint
    from slide_deploy.hosts import Overrides, load_checkpoint
    from slide_deploy.onnx_network.deployable import deployable_onnx

    entry, base, size = wanted.entry, wanted.base, wanted.image_size
    if entry.model is not None:
        return deployable_factory(
            entry.model,
            wanted.model_args,
            tuple(entry.input),
            weights_file=None if entry.weights_file is None else base / entry.weights_file,
            dynamic_batch=dynamic_batch,
            folder=base,
        )
    own = entry.checkpoint
    if own is not None and is_source(base / own):
        if dynamic_batch:
            raise InputError(
                f"export = {{ dynamic_batch = true }} is for checkpoints, and {base / own} is an "
                f".onnx file, which keeps its batch: leave it out."
            )
        return deployable_onnx(base / own, tuple(entry.input), option="input")
    checkpoint = _random_checkpoint(wanted, folder) if own is None else base / own
    pixels = None if size is None else parse_size(size, "image size")
    loaded = load_checkpoint(checkpoint, Overrides(image_size=pixels))
    return deployable_checkpoint(loaded, dynamic_batch=dynamic_batch)


def _random_checkpoint(wanted: "WantedFile", folder: Path) -> Path:
    """Write a checkpoint with random weights; latency does not depend on their values."""
    import torch

    from benchmarks.baselines.subject import network
    from slide_deploy.files.writing import draft_of

    assert wanted.entry.architecture is not None
    assert wanted.image_size is not None
    model = network(
        wanted.entry.architecture, parse_size(wanted.image_size, "image size")
    ).branched()
    path = folder / f"{wanted.entry.architecture}.pth"
    with draft_of(path) as draft:
        torch.save({"model": model.state_dict()}, draft)
    return path


def _attention(wanted: "WantedFile", folder: Path) -> Path:
    """Export one folded and lowered attention, which maps feature maps to feature maps."""
    from benchmarks.baselines.subject import attention
    from exporters.attention import Alone, attention_traces
    from exporters.base import ExportRequest, exporter_for
    from exporters.quantisation.making import write
    from exporters.quantisation.noise import noise
    from slide_deploy.backends import open_file
    from slide_deploy.files.folders import working_folder
    from slide_deploy.files.publishing import publication
    from slide_deploy.folding.model import fold_attention
    from slide_deploy.lowerings import for_file
    from slide_deploy.models.slide_attention import SlideAttention
    from slide_deploy.verification.cases import example_case, verification_cases
    from slide_deploy.verification.reference_outputs.making import store_reference_of

    assert wanted.entry.attention is not None
    subject = attention(wanted.entry.attention)
    branched = subject.branched()
    assert isinstance(branched, SlideAttention)
    folded, _ = fold_attention(branched)
    height, width = subject.shape[2:]
    precision = str(wanted.entry.export.get("precision", "float32"))
    lowering = read_lowering(str(wanted.entry.export.get("lowering", AUTO)), (height, width))
    exporter = exporter_for(wanted.format)
    exporter.require(precision)
    traces = attention_traces(
        folded,
        (height, width),
        for_file(lowering, wanted.format, precision),
        bool(wanted.entry.export.get("dynamic_batch", False)),
    )
    request = ExportRequest(traces, {}, precision, exporter.passes(precision))
    with working_folder(folder) as work:  # the next run would reuse a half-written file
        draft = exporter.paths(work / "attention")[0]
        is_calibrated = precision_named(precision).is_calibrated
        examples = noise(traces.deployable) if is_calibrated else None
        write(exporter, request, draft, (), examples)
        whole = replace(traces.deployable, model=Alone(folded, folded.layout).eval())
        cases = verification_cases(whole.inputs, whole.sizes)
        if examples is not None:
            cases = (example_case("noise", examples.held_back),)
        session = open_file(draft, precision)
        beside = store_reference_of(draft, session, whole, cases, precision)
        made = exporter.written(work / "attention")
        with publication(work) as moves:
            # The file that later runs look for comes last.
            for each in (*([] if beside is None else [beside]), *reversed(made)):
                moves.put(each.name)
    return folder / draft.name
