"""Export in Python: a network to proved files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from exporters import pipeline
from exporters.base import exporter_for, require_targets
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.api.arguments import PathLike, Progress, path_of, public, steps, texts_of
from slide_deploy.api.files import labels_of, policy_of
from slide_deploy.api.networks import Inputs, Model, network_of
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.publishing import refuse_occupied
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.lowerings import Lowering


@public
def export(
    model: Model,
    inputs: Inputs | None = None,
    *,
    to: str | Sequence[str] = (),
    preset: str | None = None,
    out: PathLike = "exported",
    name: str | None = None,
    input_names: str | Sequence[str] = (),
    output_names: str | Sequence[str] = (),
    open_sizes: Mapping[str, Mapping[int, str]] | None = None,
    dynamic_batch: bool | None = None,
    precision: str | None = None,
    delegate: str | None = None,
    calibration: PathLike | None = None,
    max_drop: float | None = None,
    data: PathLike | None = None,
    lowering: str | Lowering | None = None,
    tune: bool = False,
    features: bool = False,
    embed_preprocessing: bool | None = None,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    input_layout: str | None = None,
    channel_order: str | None = None,
    labels: PathLike | Sequence[str] = (),
    softmax: bool = False,
    verify_on: str | Sequence[str] = (),
    policy: PathLike | Policy | None = None,
    force: bool = False,
    keep_failed: bool = False,
    unproven: bool = False,
    progress: Progress = False,
) -> ExportResult:
    """Fold a network, write it in other formats and prove each file.

    Every file is read back from disk and run on its own runtime against the network in float64.
    One that disagrees is removed; the result says so, and ``raise_if_failed`` makes an error of it.

    Args:
        model: a module, the path of a checkpoint, or what ``load`` gave; it is left as it is.
        inputs: of a module: an example of what its ``forward`` takes: a tensor, a sequence of
            positional arguments or a mapping of keyword arguments.
        to: a format, or several: "onnx", "openvino", "coreml" and others that
            ``doctor`` lists; "all" for those that are installed.
        preset: options for a kind of machine: "cpu", "intel", "apple", "android", "browser" or
            "gpu"; what is given beside it wins.
        out: folder to write into.
        name: of the files without their ending; the class, or the checkpoint, if left out.
        input_names: of a module: what files call its inputs; the names of ``forward`` if left out.
        output_names: of a module: what files call its outputs; their keys if left out.
        open_sizes: of a module: names of the sizes to leave open, by input and axis, as
            ``{"image": {2: "height", 3: "width"}}``.
        dynamic_batch: leave the batch size open.
        precision: one of ``slide_deploy.precisions``; "float32" if left out.
        delegate: library that runs parts of an ExecuTorch file: "xnnpack", "coreml" or "vulkan".
        calibration: a folder of pictures, or a ``.npz`` file with an array for each input, on which
            ranges of values are measured for "int8", and what overflows for "float16".
        max_drop: percentage points of top-1 that an int8 file may lose, as 0.5: layers return to
            float, the worst first, until it loses no more.
        data: pictures for that: a folder with one folder for each class, or a CSV file of
            ``path,label``; if left out those for calibration, without those that ranges are
            measured on.
        lowering: the form of the slide attentions; "auto" takes the fastest by measurement.
            "auto" if left out.
        tune: race the forms of each attention here first, which takes a minute for each.
        features: of a checkpoint: write the maps of all stages in place of the logits.
        embed_preprocessing: let files take pixels from 0 to 255, as uint8 or as a picture.
        mean: of each channel of the images in training, of pixels from 0 to 1; what the checkpoint
            says, or that of ImageNet, if left out.
        deviation: the same.
        input_layout: of the pixels: "nchw" or "nhwc".
        channel_order: of the pixels: "rgb" or "bgr".
        labels: names of the classes for the files to hold, the path of a file with one a line, or
            "imagenet".
        softmax: answer probabilities in place of logits.
        verify_on: targets that verify each file that they run, besides the file's own runtime, as
            "openvino:gpu".
        policy: rules that the files must keep: a policy, the name of a built-in one, or the path of
            a TOML file; "standard-ops" if left out.
        force: replace files that exist.
        keep_failed: keep a file that fails.
        unproven: write a file that nothing here can run; nobody has checked its answers then.
        progress: show a progress bar on stderr, or call this with each step as it starts.

    Returns:
        The files with their figures, the certificate of the fold, and the lowerings.

    Raises:
        InputError: if the network or an argument cannot be used, or a format cannot hold the
            network. Nothing is left behind.
    """
    from slide_deploy.tasks.choices import GivenOptions, chosen
    from slide_deploy.tasks.options import read_lowering

    given = GivenOptions(
        preset=preset,
        to=texts_of(to),
        precision=precision,
        delegate=delegate,
        lowering=None if lowering is None else str(lowering),
        tune=tune,
        dynamic_batch=dynamic_batch,
        embed_preprocessing=embed_preprocessing,
        mean=mean,
        deviation=deviation,
        input_layout=input_layout,
        channel_order=channel_order,
    )
    choices = chosen(given)
    formats = choices.formats
    options = ExportOptions(
        formats=formats,
        out=path_of(out, "--out"),
        lowering=read_lowering(choices.lowering),
        precision=choices.precision,
        policy=policy_of(policy),
        force=force,
        keep_failed=keep_failed,
        preprocessing=choices.preprocessing,
        labels=labels_of(labels),
        softmax=softmax,
        calibration=None if calibration is None else path_of(calibration, "--calibration"),
        max_drop=max_drop,
        data=None if data is None else path_of(data, "--data"),
        delegate=delegate,
        unproven=unproven,
        verify_on=texts_of(verify_on),
    )
    exporters = [exporter_for(format, delegate) for format in formats]
    for exporter in exporters:
        exporter.require(choices.precision)
    require_targets(exporters, options.verify_on)
    with steps(progress, 3 + 2 * len(formats)) as step:
        step("load the network")
        network = network_of(
            model,
            inputs,
            features=features,
            dynamic_batch=choices.dynamic_batch,
            open_sizes=open_sizes,
            input_names=input_names,
            output_names=output_names,
        )
        if name is not None:
            network = _named(network, name)
        remarks = _raced(network, options, step) if tune else ()
        result = pipeline.export(network, options, step)
    return replace(result, remarks=(*result.remarks, *remarks))


def _named(network: Deployable, name: str) -> Deployable:
    is_name = isinstance(name, str) and name == Path(name).name and name.isprintable()
    if not is_name or name in ("", ".", ".."):
        raise InputError(f"name {name!r} is not the name of a file: give one without folders.")
    return replace(network, origin=replace(network.origin, stem=name))


def _raced(
    network: Deployable, options: ExportOptions, step: Callable[[str], None]
) -> tuple[str, ...]:
    """Race the forms of the network's attentions; what was not raced, a sentence each."""
    from slide_deploy.tasks.options import require_bench
    from slide_deploy.tasks.tune_first import tune_first

    require_bench()
    for format in options.formats:  # before minutes are spent
        paths = exporter_for(format).published(options.out / network.origin.stem)
        refuse_occupied(paths, options.force)
    formats = ", ".join(map(repr, options.formats))
    command = f"slide_deploy.export(..., to=[{formats}], tune=True)"
    return tune_first(network, options.formats, options.precision, step, command)
