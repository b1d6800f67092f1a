"""Export in Python: from a network to verified files."""

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
    """Fold a network, write it in other formats and verify each file.

    Every file is read back from disk and run on its own runtime, and its outputs are compared with
    those of the network in float64. A file that disagrees is removed and ``passed`` is false;
    ``raise_if_failed`` raises an error then.

    Args:
        model: a module, the path of a checkpoint, or the result of ``load``; it is not changed.
        inputs: example inputs of ``forward``: a tensor, a sequence of positional arguments or a
            mapping of keyword arguments; only for a module.
        to: one format or several: "onnx", "openvino", "coreml" and others that ``doctor`` lists;
            "all" for those that are installed.
        preset: options for a kind of machine: "cpu", "intel", "apple", "android", "browser" or
            "gpu". Other arguments override it.
        out: output folder.
        name: name of the files without suffix. Default: the name of the class or checkpoint.
        input_names: names of the inputs in files; only for a module. Default: the parameter names
            of ``forward``.
        output_names: names of the outputs in files; only for a module. Default: the keys of the
            result.
        open_sizes: names of the sizes to leave open, by input and axis, such as
            ``{"image": {2: "height", 3: "width"}}``; only for a module.
        dynamic_batch: leave the batch size open.
        precision: the name of a precision, see ``slide_deploy.precisions``. Default: "float32".
        delegate: library that runs parts of an ExecuTorch file: "xnnpack", "coreml" or "vulkan".
        calibration: a folder of images, or a ``.npz`` file with an array for each input. "int8"
            measures value ranges on it; "float16" searches for overflow on it.
        max_drop: percentage points of top-1 accuracy that an int8 file may lose, such as 0.5.
            Layers return to float, the noisiest first, until the limit is kept.
        data: labelled images for ``max_drop``: a folder with one folder for each class, or a CSV
            file of ``path,label``. Default: the calibration images that are not used to measure
            ranges.
        lowering: the form of the slide attentions; "auto", the default, selects the form that was
            measured fastest.
        tune: race the forms of each attention on this machine first, which takes about a minute
            for each attention.
        features: output the feature maps of all stages instead of the logits; only for a
            checkpoint.
        embed_preprocessing: let files take pixels from 0 to 255, as uint8 or as an image type.
        mean: mean of each channel in training, for pixels from 0 to 1. Default: the value in the
            checkpoint, or that of ImageNet.
        deviation: standard deviation of each channel, with the same scale and default.
        input_layout: layout of the pixels: "nchw" or "nhwc".
        channel_order: channel order of the pixels: "rgb" or "bgr".
        labels: class names to store in the files, the path of a file with one name a line, or
            "imagenet".
        softmax: output probabilities instead of logits.
        verify_on: further targets to verify each file on, such as "openvino:gpu".
        policy: policy that the files must pass: a policy, the name of a built-in one, or the path
            of a TOML file. Default: "standard-ops".
        force: replace existing files.
        keep_failed: publish files that fail.
        unproven: write files that no runtime here can run, without verification.
        progress: show a progress bar on stderr, or call this function with each step as it starts.

    Returns:
        The files with their errors and lowerings, and the certificate of the fold.

    Raises:
        InputError: if the network or an argument cannot be used, or a format cannot express the
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
        raise InputError(f"name {name!r} is not a file name: give one without folders.")
    return replace(network, origin=replace(network.origin, stem=name))


def _raced(
    network: Deployable, options: ExportOptions, step: Callable[[str], None]
) -> tuple[str, ...]:
    """Race the forms of the network's attentions; return what was not raced and why."""
    from slide_deploy.tasks.options import require_bench
    from slide_deploy.tasks.tune_first import tune_first

    require_bench()
    for format in options.formats:  # fail before the races, which take minutes
        paths = exporter_for(format).published(options.out / network.origin.stem)
        refuse_occupied(paths, options.force)
    formats = ", ".join(map(repr, options.formats))
    command = f"slide_deploy.export(..., to=[{formats}], tune=True)"
    return tune_first(network, options.formats, options.precision, step, command)
