"""Networks in Python: load, fold and lower, and conversion of the ``model`` argument."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from slide_deploy.api.arguments import PathLike, Size, path_of, public, size_of, texts_of
from slide_deploy.checkpoint.choice import WeightChoice
from slide_deploy.deployable.module import arguments_of, deployable_of, own_copy
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.files.model_files import is_source, refuse_final
from slide_deploy.folding.merging import merge_branches
from slide_deploy.folding.model import Certificate, reparameterize, with_branches
from slide_deploy.hosts import Overrides, load_checkpoint
from slide_deploy.lowerings import DEFAULT_LOWERING, Lowering, chosen
from slide_deploy.lowerings import lower as lower_folded
from slide_deploy.onnx_network.deployable import deployable_onnx

# A module, the path of a checkpoint, or the result of `load`.
Model = nn.Module | Deployable | PathLike
# One tensor, positional arguments, or keyword arguments by name. Arguments may nest tensors.
Inputs = Tensor | np.ndarray | Sequence[Any] | Mapping[str, Any]


@public
def load(
    path: PathLike,
    *,
    weights: WeightChoice = "auto",
    entry: str | None = None,
    leave_out: str | Sequence[str] = (),
    image_size: Size | None = None,
    window_size: int | None = None,
    keep_windows: bool = False,
    resize_position_tables: bool = False,
    heads: Sequence[int] | None = None,
    stripes: Sequence[int] | None = None,
    features: bool | None = False,
    dynamic_batch: bool = False,
    input_sizes: str | Sequence[str] = (),
) -> Deployable:
    """Load a checkpoint, or a network that is an ``.onnx`` file.

    Args:
        path: a ``.pth``, ``.pt`` or ``.safetensors`` file, a folder from a model hub, or an
            ``.onnx`` file, to which only ``input_sizes`` applies.
        weights: "averaged" or "raw" weights; "auto" prefers averaged weights.
        entry: which network to load from a file with several, such as "model_ema".
        leave_out: name prefixes of tensors that are not part of the network.
        image_size: 224, (512, 768) or "512x768". Default: the image size of training.
        window_size: largest attention window. Default: the window size of training.
        keep_windows: cover larger feature maps with windows of the training size.
        resize_position_tables: interpolate position tables for another image or window size.
        heads: number of heads of each stage, where the file does not determine it.
        stripes: stripe widths of each stage of a CSWin that differs from the published models.
        features: output the feature maps of all stages instead of the logits; None outputs what
            the weights of the file allow.
        dynamic_batch: leave the batch size open in exported files.
        input_sizes: sizes of the inputs of an ``.onnx`` file that leaves more than the batch open,
            such as "image=1x3x224x224".

    Returns:
        The network with its inputs, outputs and origin; ``model`` is the module.

    Raises:
        InputError: if the file or an argument cannot be used.
    """
    given = path_of(path, "path")
    refuse_final(given)
    if is_source(given):
        others = {
            "weights": weights != "auto",
            "entry": entry is not None,
            "leave_out": bool(leave_out),
            "image_size": image_size is not None,
            "window_size": window_size is not None,
            "keep_windows": keep_windows,
            "resize_position_tables": resize_position_tables,
            "heads": heads is not None,
            "stripes": stripes is not None,
            "features": bool(features),
            "dynamic_batch": dynamic_batch,
        }
        for argument, is_given in others.items():
            if is_given:
                raise InputError(
                    f"`{argument}` is for checkpoints, and {given} is an .onnx file: leave it out."
                )
        return deployable_onnx(
            given, texts_of(input_sizes), option="`input_sizes` of slide_deploy.load"
        )
    if input_sizes:
        raise InputError(f"`input_sizes` is for .onnx files: leave it out for {given}.")
    overrides = Overrides(
        weights=_choice(weights),
        image_size=size_of(image_size, "--image-size"),
        window_size=window_size,
        keep_windows=keep_windows,
        resize_position_tables=resize_position_tables,
        heads=None if heads is None else tuple(heads),
        stripes=None if stripes is None else tuple(stripes),
        entry=entry,
        leave_out=texts_of(leave_out),
    )
    checkpoint = load_checkpoint(given, overrides)
    return deployable_checkpoint(checkpoint, features=features, dynamic_batch=dynamic_batch)


def _choice(weights: str) -> WeightChoice:
    known: tuple[WeightChoice, ...] = ("auto", "averaged", "raw")
    for each in known:
        if each == weights:
            return each
    raise InputError(f"--weights {weights} is not a choice: give {' or '.join(known)}.")


@public
def fold(model: Model, inputs: Inputs | None = None) -> tuple[nn.Module, Certificate]:
    """Fold the parallel branches of slide attentions or, with inputs, of all convolutions.

    Args:
        model: a module, the path of a checkpoint, or the result of ``load``; it is not changed.
        inputs: example inputs of ``forward``: a tensor, a sequence of positional arguments or a
            mapping of keyword arguments.

    Returns:
        A folded copy in evaluation mode on the same device, and the certificate: what was folded in
        each layer, and the error. Without inputs, the copy is the same module with folded slide
        attentions. With inputs, sums and chains of convolutions anywhere become one convolution
        each, as in exported files, and the copy is a traced graph. Call it with arguments like the
        example; sizes above 1 may differ where the network allows it.

    Raises:
        InputError: if the network cannot be read or copied, a layer cannot be folded, or
            ``forward`` fails or cannot be traced with the inputs.
    """
    own = _module(model)
    folded, certificate = reparameterize(own)
    if inputs is None:
        return folded, certificate
    name = type(own).__name__
    args, kwargs = arguments_of(own, inputs, name)
    try:
        merged, reports = merge_branches(folded, args, kwargs)
    except InputError as error:
        raise InputError(
            f"{name} {error}: give no inputs, to fold slide attentions alone."
        ) from error
    return merged, with_branches(certificate, reports)


@public
def lower(
    model: Model, lowering: str | Lowering | Mapping[str, str | Lowering] = "depthwise"
) -> nn.Module:
    """Write every slide attention of a network with standard operators.

    Args:
        model: a module, the path of a checkpoint, or the result of ``load``; it is not changed. The
            copy is folded first if necessary.
        lowering: the form: "depthwise", "running-mean" or "flat", optionally with a number of
            strips, such as "flat/4". A mapping gives a form for each attention by its name in the
            folded network.

    Returns:
        A copy with the same outputs up to rounding.

    Raises:
        InputError: as for ``fold``, or if the form is unknown or cannot express a layer.
    """
    folded, _ = reparameterize(_module(model))
    if not isinstance(lowering, Mapping):
        return lower_folded(folded, _form(lowering))
    forms = {name: _form(each) for name, each in lowering.items()}
    for name in chosen(folded, DEFAULT_LOWERING):
        if name not in forms:
            raise InputError(f"lowering has no form for {name}: give one for each attention.")
    return lower_folded(folded, forms)


def _form(lowering: str | Lowering) -> Lowering:
    if isinstance(lowering, Lowering):
        return lowering
    if lowering.lower() == "auto":
        raise InputError(
            "lowering auto depends on the file format, so only slide_deploy.export takes it: give "
            "the name of a form here."
        )
    return Lowering.parse(lowering.lower())


def _module(model: Model) -> nn.Module:
    """Return the module of a network; a copy if the user gave a module."""
    if isinstance(model, nn.Module):
        return own_copy(model)
    return network_of(model, None, features=None).model


def network_of(
    model: Model,
    inputs: Inputs | None,
    *,
    features: bool | None = False,
    dynamic_batch: bool = False,
    open_sizes: Mapping[str, Mapping[int, str]] | None = None,
    input_names: str | Sequence[str] = (),
    output_names: str | Sequence[str] = (),
) -> Deployable:
    """Return the ``Deployable`` of a ``model`` argument.

    Args:
        model: a module, the path of a checkpoint, or the result of ``load``.
        inputs: example inputs; only for a module.
        features: see ``load``; only for a checkpoint.
        dynamic_batch: leave the batch size open.
        open_sizes: see ``deployable_of``; only for a module.
        input_names: names of the inputs in files; only for a module.
        output_names: names of the outputs in files; only for a module.

    Raises:
        InputError: if the network cannot be used, or an argument does not apply to it.
    """
    if isinstance(model, nn.Module):
        if features:
            raise InputError(
                "--features is for checkpoints: return the feature maps from the forward of your "
                "network."
            )
        if inputs is None:
            raise InputError(
                f"{type(model).__name__} is given without inputs: give example inputs of its "
                f"forward, such as torch.zeros(1, 3, 224, 224)."
            )
        return deployable_of(
            model,
            inputs,
            input_names=texts_of(input_names),
            output_names=texts_of(output_names),
            open_sizes=open_sizes,
            dynamic_batch=dynamic_batch,
        )
    if not isinstance(model, Deployable | str | os.PathLike):
        raise InputError(
            f"The network is of type {type(model).__name__}: give a torch.nn.Module, the path of a "
            f"checkpoint, or the result of slide_deploy.load."
        )
    given = {
        "inputs": inputs is not None,
        "open_sizes": bool(open_sizes),
        "input_names": bool(input_names),
        "output_names": bool(output_names),
    }
    for argument, is_given in given.items():
        if is_given:
            raise InputError(
                f"`{argument}` is for your own module and a checkpoint determines it: leave it out."
            )
    if not isinstance(model, Deployable):
        return load(model, features=features, dynamic_batch=dynamic_batch)
    if features or dynamic_batch:
        argument = "features" if features else "dynamic_batch"
        raise InputError(
            f"{model.origin.name} is loaded already: give `{argument}` to slide_deploy.load."
        )
    return model
