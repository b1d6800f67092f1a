"""What a format or its converter refuses, in one sentence that names the operator and its layer."""

import re
from collections.abc import Iterable

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from slide_deploy.backends.native_messages import message_lines
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError, is_out_of_memory
from slide_deploy.program.traced import layer_of

# How converters name an operator in their messages: as a node, or as one of ATen's.
_NAMED = (
    r"(?:\bnode|\boperation|\bOp)\s+[\"']?([A-Za-z_][\w.]*)",
    r"op='?([A-Za-z_][\w.]*)",
    r"\b(aten(?:::|\.)\w+)",
)


def refuse_ranks(program: ExportedProgram, most: int, format: str) -> None:
    """Refuse a program with a tensor of too many axes.

    Args:
        program: traced.
        most: axes that the format allows.
        format: for the message.

    Raises:
        InputError: if there is one; the text names the layer that computes it.
    """
    for node in program.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(value, torch.Tensor) and value.dim() > most:
                raise InputError(
                    f"{layer_of(node)} computes a tensor of {value.dim()} axes, and {format} holds "
                    f"{most} at most: write it with fewer, or leave {format} out."
                )


def refuse_node(node: torch.fx.Node, why: str, advice: str) -> InputError:
    """What is raised for an operator that a converter has no translation of.

    Args:
        node: the operator.
        why: a clause behind the operator's name.
        advice: what to do.
    """
    return InputError(f"{layer_of(node)} computes {operator_of(node)}, {why}: {advice}.")


def converter_failed(
    error: Exception, program: ExportedProgram, deployable: Deployable, file: str, format: str
) -> InputError:
    """What is raised for an error of a converter, which may be of any type.

    Args:
        error: as the converter raised it.
        program: what it was given.
        deployable: the network.
        file: that was to be written.
        format: of the file.
    """
    if is_out_of_memory(error):
        return InputError(
            f"{file} could not be written as {format}: the memory ran out; close other programs, "
            f"or export on a machine with more memory."
        )
    lines = message_lines(error)
    # A line that ends in a colon announces one that says more, as OpenVINO's first ones do.
    reason = next((line for line in lines if not line.endswith(":")), lines[0])
    layer = _layer_in(program, _whole_text(error))
    where = f" at {layer}" if layer else ""
    return InputError(
        f"{file} could not be written as {format}: its converter stopped{where} ({reason}); "
        f"{remedy(deployable, format)}."
    )


def remedy(deployable: Deployable, format: str) -> str:
    """What to do where a converter refuses a network."""
    names = [name for name in deployable.open_names if name != BATCH_NAME]
    if names:
        return f"leave {' and '.join(names)} closed for {format}, or leave {format} out"
    return (
        f"write that part with other operators, or leave {format} out; slide-deploy doctor says "
        f"which versions are installed"
    )


def operator_of(node: torch.fx.Node) -> str:
    """What an operator is called, without its overload: ``upsample_bilinear2d``."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target._schema.name).partition("::")[2]
    return str(getattr(node.target, "__name__", node.target))


def _layer_in(program: ExportedProgram, text: str) -> str:
    """The layer of an operator that a message names; empty if it names none, or several."""
    named: Iterable[str] = (match for each in _NAMED for match in re.findall(each, text))
    names = [re.sub(r"^aten(::|\.)", "", each) for each in named]
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    for name in names:
        exact = next((node for node in calls if node.name == name), None)
        if exact is not None:
            return layer_of(exact)
    for name in names:
        layers = {layer_of(node) for node in calls if operator_of(node) == name.partition(".")[0]}
        if len(layers) == 1:
            return layers.pop()
    return ""


def _whole_text(error: BaseException | None) -> str:
    """The message of an error and of those that it was raised from."""
    parts: list[str] = []
    while error is not None and len(parts) < 8:
        parts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(parts)
