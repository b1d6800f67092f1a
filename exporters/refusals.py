"""Errors of formats and converters as one sentence that names the operator and its layer."""

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

# How converters name an operator in their messages: as a graph node, or by its ATen name.
_NAMED = (
    r"(?:\bnode|\boperation|\bOp)\s+[\"']?([A-Za-z_][\w.]*)",
    r"op='?([A-Za-z_][\w.]*)",
    r"\b(aten(?:::|\.)\w+)",
)


def refuse_ranks(program: ExportedProgram, most: int, format: str) -> None:
    """Check that no tensor of a program has too many axes.

    Raises:
        InputError: if a tensor has more; the message names the layer that computes it.
    """
    for node in program.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(value, torch.Tensor) and value.dim() > most:
                raise InputError(
                    f"{layer_of(node)} computes a tensor of {value.dim()} axes, and {format} "
                    f"allows at most {most}: write it with fewer, or leave {format} out."
                )


def refuse_node(node: torch.fx.Node, why: str, advice: str) -> InputError:
    """Return the error for an operator that a converter does not support.

    Args:
        node: the operator.
        why: a clause that follows the operator's name.
        advice: what to do.
    """
    return InputError(f"{layer_of(node)} computes {operator_of(node)}, {why}: {advice}.")


def converter_failed(
    error: Exception, program: ExportedProgram, deployable: Deployable, file: str, format: str
) -> InputError:
    """Return the error for any exception of a converter."""
    if is_out_of_memory(error):
        return InputError(
            f"{file} could not be written as {format}: memory ran out; close other programs, "
            f"or export on a machine with more memory."
        )
    lines = message_lines(error)
    # A line that ends in a colon introduces the next one, as in OpenVINO's messages.
    reason = next((line for line in lines if not line.endswith(":")), lines[0])
    layer = _layer_in(program, _whole_text(error))
    where = f" at {layer}" if layer else ""
    return InputError(
        f"{file} could not be written as {format}: its converter failed{where} ({reason}); "
        f"{remedy(deployable, format)}."
    )


def remedy(deployable: Deployable, format: str) -> str:
    """Return the advice for a network that a converter does not support."""
    names = [name for name in deployable.open_names if name != BATCH_NAME]
    if names:
        return f"leave {' and '.join(names)} fixed for {format}, or leave {format} out"
    return (
        f"write that part with other operators, or leave {format} out; slide-deploy doctor says "
        f"which versions are installed"
    )


def operator_of(node: torch.fx.Node) -> str:
    """Return the name of an operator without its overload, such as ``upsample_bilinear2d``."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target._schema.name).partition("::")[2]
    return str(getattr(node.target, "__name__", node.target))


def _layer_in(program: ExportedProgram, text: str) -> str:
    """Return the layer of the operator in a message; empty unless it is exactly one layer."""
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
    """Return the message of an error, followed by those of its causes."""
    parts: list[str] = []
    while error is not None and len(parts) < 8:
        parts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(parts)
