"""What a file declares of itself, for the graph rules to hold the graph against."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from exporters.base import ExportRequest
from exporters.census import census
from exporters.epsilons import epsilons
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.census import CENSUS_KEY, census_text
from slide_deploy.graph_checks.declarations import ATTENTIONS_KEY, PRECISION_KEY
from slide_deploy.graph_checks.interface import INTERFACE_KEY, InterfacePort, interface_text
from slide_deploy.graph_checks.normalisations import NORMALISATIONS_KEY, normalisations_text
from slide_deploy.graph_checks.weight_widths import weight_widths
from slide_deploy.lowerings import Lowering
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.program.traced import user_outputs

Sizes = tuple[int | str, ...]
Tensor = tuple[str, str, Sizes]
"""Name, element type as numpy spells it, and shape: sizes, and names of those that are open."""


def declarations(
    program: ExportedProgram,
    folded: nn.Module,
    lowerings: Mapping[str, Lowering],
    precision: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> dict[str, str]:
    """The entries of a file's metadata that rules read.

    Args:
        program: the lowered model, traced: what the file is written from.
        folded: the model before it was lowered, which still knows its slide attentions.
        lowerings: how each is written, by its name.
        precision: in which the file is written.
        inputs: what callers give.
        outputs: what they get.
    """
    ports = ([InterfacePort(*each) for each in tensors] for tensors in (inputs, outputs))
    return {
        PRECISION_KEY: precision,
        ATTENTIONS_KEY: json.dumps(_slide_attentions(folded, lowerings)),
        CENSUS_KEY: census_text(census(program)),
        NORMALISATIONS_KEY: normalisations_text(epsilons(program)),
        INTERFACE_KEY: interface_text(*ports),
    }


def wide_operators(path: Path) -> tuple[str, ...]:
    """The operators of a file of float16 whose weights are wider, which it has to name."""
    return tuple(width.node.name for width in weight_widths(read_graph(path)) if width.bits > 16)


def request_declarations(
    request: ExportRequest, folded: nn.Module, lowerings: Mapping[str, Lowering]
) -> dict[str, str]:
    """The same for what an exporter writes."""
    inputs: list[Tensor] = [
        (each.name, each.example.dtype.name, each.shape) for each in request.inputs
    ]
    program = request.program
    outputs = traced_outputs(program, request.outputs, open_symbols(program, inputs))
    return declarations(program, folded, lowerings, request.precision, inputs, outputs)


def traced_outputs(
    program: ExportedProgram, names: Sequence[str], open_names: Mapping[str, str]
) -> list[Tensor]:
    """The outputs of a traced program, as ``declarations`` takes them.

    Args:
        program: the model, traced.
        names: of its outputs, in their order.
        open_names: of open sizes, by the symbol that the program has for each.
    """
    return [
        (name, str(value.dtype).removeprefix("torch."), _named(value.shape, open_names))
        for name, value in zip(names, user_outputs(program), strict=True)
    ]


def open_symbols(program: ExportedProgram, inputs: Sequence[Tensor]) -> dict[str, str]:
    """The name of each open size, by the symbol that a traced program has for it.

    Args:
        program: the model, traced.
        inputs: in the order of the program, with names of open sizes in their shapes.
    """
    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    values = [held[name] for name in program.graph_signature.user_inputs if name in held]
    return {
        str(size): wanted
        for value, (_, _, sizes) in zip(values, inputs, strict=True)
        for size, wanted in zip(value.shape, sizes, strict=True)
        if isinstance(wanted, str) and isinstance(size, torch.SymInt)
    }


def _named(shape: Sequence[int | torch.SymInt], open_names: Mapping[str, str]) -> Sizes:
    """A shape with names in the place of a program's symbols, also where it computes with them."""
    sizes: list[int | str] = []
    for size in shape:
        if isinstance(size, torch.SymInt):
            text = str(size)
            for symbol, name in open_names.items():
                text = re.sub(rf"\b{re.escape(symbol)}\b", name, text)
            sizes.append(text)
        else:
            sizes.append(int(size))
    return tuple(sizes)


def _slide_attentions(
    folded: nn.Module, lowerings: Mapping[str, Lowering]
) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "channels": module.config.inner_dim,
            "kernel_size": module.config.kernel_size,
            "heads": module.config.num_heads,
            "head_dim": module.config.head_dim,
            "lowering": lowerings[name].form,
            "strips": lowerings[name].strips,
            "padding_mode": module.config.padding_mode,
        }
        for name, module in folded.named_modules()
        if isinstance(module, FoldedSlideAttention)
    ]
