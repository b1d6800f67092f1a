"""Create a ``Deployable`` from the user's own code, as named on the command line or in a suite."""

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.load_into import load_into
from slide_deploy.deployable.input_text import InputText
from slide_deploy.deployable.model_text import ModelText
from slide_deploy.deployable.module import deployable_of, own_copy
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.save import holds_folded
from slide_deploy.deployable.user_code import build
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize

_AS_BUILT = (
    "the weights are those that {model} creates, random with seed 0 unless it loads some: give "
    "trained ones with --weights-file"
)


def deployable_factory(
    model: str,
    model_args: str | None,
    input_texts: Sequence[str],
    *,
    weights_file: Path | None = None,
    overrides: Overrides | None = None,
    dynamic_batch: bool = False,
    folder: Path = Path(),
) -> Deployable:
    """Create a record of a network that the user's code builds.

    Args:
        model: ``package.module:factory`` or ``path/to/net.py:factory``. The factory is a function,
            a class or the network itself.
        model_args: arguments of the factory in JSON; None for no arguments.
        input_texts: texts for ``InputText``, one per input. If all names are parameters of
            ``forward``, inputs are passed by name, else all are passed in order.
        weights_file: a checkpoint of any layout with the weights, or a file that ``save_folded``
            wrote for this network; None keeps the weights that the factory creates.
        overrides: options for reading the file.
        dynamic_batch: leave the first size of every input open.
        folder: folder that is searched for modules first, and that file paths are relative to.

    Raises:
        InputError: if a text, the user's code or the file cannot be used.
    """
    text = ModelText.parse(model)
    arguments = _arguments(model_args)
    inputs = [InputText.parse(each) for each in input_texts]
    _refuse_twice(inputs)
    # A copy, because the user's code may return the same network to another suite candidate.
    built = own_copy(build(text, arguments, folder), model)
    facts: dict[str, Any] = {"model": model, "model_args": arguments}
    remarks: tuple[str, ...] = ()
    if weights_file is not None:
        if holds_folded(weights_file):
            built = reparameterize(built)[0]
        loaded = load_into(built, weights_file, model, overrides)
        remarks = loaded.remarks
        facts |= {
            "file": weights_file.name,
            "file_sha256": loaded.sha256,
            "entry": loaded.entry,
            "left_out": loaded.left_out,
        }
    elif built.state_dict():
        remarks = (_AS_BUILT.format(model=model),)
    names, examples = _examples(built, inputs)
    remarks = (*remarks, *_renamed(built, names))
    made = deployable_of(
        built,
        examples,
        name=model,
        stem=text.stem,
        input_names=() if isinstance(examples, Mapping) else names,
        open_sizes={name: each.open for name, each in zip(names, inputs, strict=True)},
        dynamic_batch=dynamic_batch,
    )
    origin = replace(made.origin, remarks=(*remarks, *made.origin.remarks), facts=facts)
    return replace(made, origin=origin)


def _arguments(text: str | None) -> list[Any] | dict[str, Any] | None:
    if text is None:
        return None
    advice = "give an object as '{\"dim\": 96}' for arguments by name, or a list as '[96]'"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--model-args {text} is not JSON ({error}): {advice}.") from error
    if not isinstance(found, list | dict):
        raise InputError(f"--model-args {text} is neither an object nor a list: {advice}.")
    return found


def _refuse_twice(inputs: Sequence[InputText]) -> None:
    named = [each.name for each in inputs if each.name]
    for name in named:
        if named.count(name) > 1:
            raise InputError(f"--input gives the name {name} twice: give every input its own name.")


def _examples(
    model: nn.Module, inputs: Sequence[InputText]
) -> tuple[list[str], list[np.ndarray] | dict[str, np.ndarray]]:
    """Return the name of each input, and example values by parameter of ``forward`` or in order."""
    values = [each.example(seed) for seed, each in enumerate(inputs)]
    given = [each.name for each in inputs]
    signature = _signature(model)
    if all(given):
        by_name = dict(zip(given, values, strict=True))
        with suppress(TypeError):  # a name is not a parameter, so inputs are passed in order
            signature.bind(**by_name)
            return given, by_name
    own = _parameters(model)
    names = [
        name or (own[place] if place < len(own) else f"input_{place}")
        for place, name in enumerate(given)
    ]
    return names, values


def _renamed(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return a remark for each input whose name differs from ``forward``'s. It may be a typo."""
    own = _parameters(model)
    return tuple(
        f"forward's input {parameter} is named {name} in files, as given by --input"
        for name, parameter in zip(names, own, strict=False)
        if name not in own
    )


def _parameters(model: nn.Module) -> list[str]:
    """Return the names of ``forward``'s parameters, without ``*args`` and ``**kwargs``."""
    return [
        each.name
        for each in _signature(model).parameters.values()
        if each.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]


def _signature(model: nn.Module) -> inspect.Signature:
    """Return the signature of ``forward``; any positional arguments if it has none."""
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):
        return inspect.signature(lambda *args: None)
