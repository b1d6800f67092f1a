"""Create a ``Deployable`` from any ``torch.nn.Module`` and example inputs.

The caller's module is copied first, so its device, type, mode and gradients never change.
"""

import hashlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from slide_deploy.deployable.domains import with_values
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.model_text import snake_case
from slide_deploy.deployable.network import Network, NetworkCall, path_text
from slide_deploy.deployable.reasons import text_of
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.deployable.sizes import with_sizes
from slide_deploy.deployable.trial import run_trial
from slide_deploy.errors import InputError
from slide_deploy.folding.surgery import copied, unwrapped
from slide_deploy.process.torch_defaults import torch_defaults

Example = Tensor | np.ndarray


@torch_defaults()
def deployable_of(
    model: nn.Module,
    inputs: Example | Sequence[Any] | Mapping[str, Any],
    *,
    name: str = "",
    stem: str = "",
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    open_sizes: Mapping[str, Mapping[int, str]] | None = None,
    dynamic_batch: bool = False,
    takes_over: bool = False,
) -> Deployable:
    """Create a record of a module.

    Args:
        model: any module. Its copy is put into evaluation mode, float32, on the CPU.
        inputs: example inputs: a tensor, a sequence of positional arguments or a mapping of keyword
            arguments. Tensors may be in nested lists and dicts. Anything else is a constant.
        name: name of the network in messages; default: its class.
        stem: name of written files; default: the class in snake case.
        input_names: names of the inputs in files; default: those of ``forward``.
        output_names: names of the outputs in files; default: their keys.
        open_sizes: names of the sizes to leave open, by input and axis:
            ``{"image": {0: "batch", 2: "height", 3: "width"}}``.
        dynamic_batch: leave the first size of every input open.
        takes_over: record the module itself instead of a copy, which saves memory. Nothing else may
            use it, and a run must not change it.

    Raises:
        InputError: if the module cannot be copied or run, or a name does not fit.
    """
    own = model.eval() if takes_over else own_copy(model, name)
    own = own.cpu().float().requires_grad_(False)
    name = name or type(own).__name__
    args, kwargs = arguments_of(own, inputs, name)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    places = tuple(
        place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor | np.ndarray)
    )
    if not places:
        raise InputError(f"The inputs of {name} contain no tensor: give an example of each input.")
    names = _input_names(own, args, kwargs, input_names, name)
    found = tuple(
        Input(each, _example(leaves[place], each))
        for each, place in zip(names, places, strict=True)
    )
    found = _with_open_sizes(found, open_sizes or {}, dynamic_batch)
    constants = tuple(None if place in places else leaf for place, leaf in enumerate(leaves))
    call = NetworkCall(spec, constants, places, ())
    scratch = own if takes_over else copied(own)  # a module may change its buffers when it runs
    trial = run_trial(scratch, call, found, name)
    found = with_values(Network(scratch, trial.call), found)
    del scratch
    origin = Origin(
        name=name,
        stem=stem or snake_case(type(own).__name__),
        sha256=weights_sha256(own),
        architecture=type(own).__qualname__,
        summary=_summary(own, found),
        remarks=trial.remarks,
    )
    named = _output_names(trial.names, output_names, {each.name for each in found}, name)
    return with_sizes(Deployable(own, found, named, trial.call, origin))


def _summary(model: nn.Module, inputs: Sequence[Input]) -> str:
    parameters = sum(each.numel() for each in model.parameters())
    taken = ", ".join(f"{each.name} {'x'.join(map(str, each.shape))}" for each in inputs)
    return f"{type(model).__name__}: {parameters:,} parameters, takes {taken}"


def weights_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of the names, types, shapes and values of all parameters and buffers."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def own_copy(model: nn.Module, name: str = "") -> nn.Module:
    """Return a copy of a network in evaluation mode, without the wrappers of training.

    Args:
        model: any module. It is not changed.
        name: name of the network in messages; default: its class.

    Raises:
        InputError: if it is not a module, cannot be copied, or has weights that cannot be used.
    """
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise InputError(
            f"{name or kind} is not a torch.nn.Module: give a module, or the path of a checkpoint."
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            f"{name or 'The network'} is a TorchScript module, which hides its layers: give the "
            f"Python module that it was created from."
        )
    name = name or type(model).__name__
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(f"{name}: {key} has no shape yet: run the network once first.")
        if tensor.is_meta:
            raise InputError(f"{name}: {key} is on the meta device: load its weights first.")
        if tensor.is_quantized or tensor.is_complex():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{name}: {key} is of type {kind}: give the network in float32.")
    return unwrapped(model).eval()


def arguments_of(
    model: nn.Module, inputs: Any, title: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments, both in the order of ``forward``.

    Args:
        model: module whose ``forward`` takes the arguments.
        inputs: see ``deployable_of``.
        title: name of the model in messages.

    Raises:
        InputError: if ``forward`` does not take them.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(inputs, Tensor | np.ndarray):
        args = (inputs,)
    elif isinstance(inputs, Mapping):
        kwargs = dict(inputs)
    elif isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | Set):
        args = tuple(inputs)
    else:
        raise InputError(
            f"The inputs of {title} are of type {type(inputs).__name__}: give a tensor, a sequence "
            f"of positional arguments or a mapping of keyword arguments."
        )
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(
            f"{title} does not take these inputs ({text_of(error)}): give the inputs of its "
            f"forward."
        ) from error
    ordered = [name for name in bound.arguments if name in kwargs]
    return args, {name: kwargs[name] for name in dict.fromkeys([*ordered, *kwargs])}


def _example(leaf: Example, name: str) -> np.ndarray:
    if isinstance(leaf, Tensor):
        kind = str(leaf.dtype).removeprefix("torch.")
        usable = not (leaf.is_complex() or leaf.is_quantized or leaf.is_meta)
        if leaf.layout != torch.strided:
            kind, usable = "sparse tensor", False
        elif leaf.is_meta:
            kind = "tensor on the meta device"
    else:
        kind, usable = leaf.dtype.name, leaf.dtype.kind in "fiub"
    if not usable:
        raise InputError(
            f"The input {name} is of type {kind}, which no format supports: give an example of "
            f"numbers or booleans."
        )
    if isinstance(leaf, np.ndarray):  # torch supports no other byte order and no negative strides
        leaf = torch.from_numpy(leaf.astype(leaf.dtype.newbyteorder("=")))
    tensor = leaf.detach().cpu()
    if not tensor.numel():
        raise InputError(f"The input {name} has no elements: give an example with some.")
    # Copied by torch, because numpy has neither the small float types nor lazy conjugation.
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy().copy()


def _input_names(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    given: Sequence[str],
    title: str,
) -> list[str]:
    """Return a name for each tensor in the arguments, in order."""
    bound = inspect.signature(model.forward).bind(*args, **kwargs)
    parameters = inspect.signature(model.forward).parameters
    names: list[str] = []
    for parameter, value in bound.arguments.items():
        kind = parameters[parameter].kind
        # Every argument in **kwargs has its own name.
        prefix = "" if kind is inspect.Parameter.VAR_KEYWORD else parameter
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            if isinstance(leaf, Tensor | np.ndarray):
                names.append("_".join(filter(None, (prefix, path_text(path)))))
    if given and len(given) != len(names):
        raise InputError(
            f"{title} takes {len(names)} tensors ({', '.join(names)}) but {len(given)} names are "
            f"given: give one name per tensor."
        )
    return unique_names(given or names)


def _with_open_sizes(
    inputs: tuple[Input, ...], open_sizes: Mapping[str, Mapping[int, str]], dynamic_batch: bool
) -> tuple[Input, ...]:
    known = [each.name for each in inputs]
    if not isinstance(open_sizes, Mapping) or not all(
        isinstance(axes, Mapping) for axes in open_sizes.values()
    ):
        raise InputError(
            f"open_sizes {open_sizes} is not a mapping of mappings: give the names of sizes by "
            f"input and axis, as {{{known[0]!r}: {{0: 'batch'}}}}."
        )
    for name, axes in open_sizes.items():
        if name not in known:
            raise InputError(f"There is no input {name} to leave open: name {' or '.join(known)}.")
        rank = inputs[known.index(name)].example.ndim
        for axis, size in axes.items():
            if not isinstance(size, str) or not size.isidentifier():
                raise InputError(
                    f"open_sizes names axis {axis} of {name} {size!r}: use letters, digits and "
                    f"underscores."
                )
            if not isinstance(axis, int) or not 0 <= axis < rank:
                raise InputError(
                    f"The input {name} has no axis {axis}: give an axis from 0 to {rank - 1}."
                )
    batch = {0: BATCH_NAME} if dynamic_batch else {}
    return tuple(
        replace(
            each, open={**(batch if each.example.ndim else {}), **open_sizes.get(each.name, {})}
        )
        for each in inputs
    )


def _output_names(
    paths: Sequence[str], given: Sequence[str], taken: Iterable[str], title: str
) -> tuple[str, ...]:
    if given and len(given) != len(paths):
        raise InputError(
            f"{title} outputs {len(paths)} tensors but {len(given)} names are given: give one name "
            f"per tensor."
        )
    if given:
        return tuple(unique_names(given, taken))
    if len(paths) == 1 and (not paths[0] or paths[0].isdigit()):
        return tuple(unique_names(["output"], taken))
    named = [f"output_{path}" if path[:1].isdigit() or not path else path for path in paths]
    return tuple(unique_names(named, taken))


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return unique names, and none of ``taken``, that all formats allow.

    Raises:
        InputError: if a name is no string.
    """
    seen, unique = set(taken), []
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{name!r} is not a name for an input or output: give a string.")
        name = re.sub(r"\W", "_", name) or "_"
        name = f"_{name}" if name[0].isdigit() else name
        candidate, count = name, 1
        while candidate in seen:
            count += 1
            candidate = f"{name}_{count}"
        seen.add(candidate)
        unique.append(candidate)
    return unique
