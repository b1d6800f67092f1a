"""A network that the user's own code builds, as the command line and suites name it."""

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from slide_deploy.checkpoint.load_into import load_into
from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.deployable.input_text import InputText
from slide_deploy.deployable.model_text import ModelText
from slide_deploy.deployable.module import deployable_of, own_copy
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.save import holds_folded
from slide_deploy.deployable.user_code import build
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize

_AS_BUILT = (
    "weights are as {model} made them, random ones from seed 0 unless it loads them: give "
    "--weights-file for trained ones"
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
    """Make a record of a network that somebody's code builds.

    Args:
        model: what builds it, ``package.module:factory`` or ``path/to/net.py:factory``: a function,
            a class or the network itself.
        model_args: arguments of the factory in JSON; None for none.
        input_texts: of each input, as ``InputText`` reads them. Inputs whose names are parameters
            of ``forward`` are passed by name; where one is not, all are passed in their order.
        weights_file: a checkpoint of any layout with the weights, or what ``save_folded`` wrote of
            this network; None takes those that the factory made.
        overrides: how the file is read.
        dynamic_batch: leave the first size of every input open.
        folder: where modules are looked for first, and where the path of a file starts.

    Raises:
        InputError: if a text, the user's code or the file cannot be used.
    """
    text = ModelText.parse(model)
    arguments = _arguments(model_args)
    inputs = [InputText.parse(each) for each in input_texts]
    _refuse_twice(inputs)
    # A copy: the user's code may give the same network again, to another candidate of a suite.
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
        raise InputError(f"--model-args {text} is no JSON ({error}): {advice}.") from error
    if not isinstance(found, list | dict):
        raise InputError(f"--model-args {text} is neither object nor list: {advice}.")
    return found


def _refuse_twice(inputs: Sequence[InputText]) -> None:
    named = [each.name for each in inputs if each.name]
    for name in named:
        if named.count(name) > 1:
            raise InputError(f"--input names {name} twice: give every input a name of its own.")


def _examples(
    model: nn.Module, inputs: Sequence[InputText]
) -> tuple[list[str], list[np.ndarray] | dict[str, np.ndarray]]:
    """A name for each input, and example values: by parameter of ``forward``, or in order."""
    values = [each.example(seed) for seed, each in enumerate(inputs)]
    given = [each.name for each in inputs]
    signature = _signature(model)
    if all(given):
        by_name = dict(zip(given, values, strict=True))
        with suppress(TypeError):  # a name is none of the parameters: they are passed in order
            signature.bind(**by_name)
            return given, by_name
    own = _parameters(model)
    names = [
        name or (own[place] if place < len(own) else f"input_{place}")
        for place, name in enumerate(given)
    ]
    return names, values


def _renamed(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """A note where files call an input otherwise than ``forward`` does: it may be a slip."""
    own = _parameters(model)
    return tuple(
        f"files call {ours} what forward calls {theirs}, as --input says"
        for ours, theirs in zip(names, own, strict=False)
        if ours not in own
    )


def _parameters(model: nn.Module) -> list[str]:
    """Names of what ``forward`` takes, but of what takes any number of arguments."""
    return [
        each.name
        for each in _signature(model).parameters.values()
        if each.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]


def _signature(model: nn.Module) -> inspect.Signature:
    """What ``forward`` takes; anything where nobody can tell."""
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):
        return inspect.signature(lambda *args: None)
