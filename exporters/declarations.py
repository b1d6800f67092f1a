"""Declarations in a file's metadata, which the graph rules check the graph against."""

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
"""Name, NumPy element type, and shape: fixed sizes, and the names of open sizes."""


def declarations(
    program: ExportedProgram,
    folded: nn.Module,
    lowerings: Mapping[str, Lowering],
    precision: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> dict[str, str]:
    """Return the metadata entries that the graph rules read, by key.

    Args:
        program: the traced lowered model that the file is written from.
        folded: the model before lowering, which still has its slide attentions as modules.
        lowerings: the lowering of each slide attention, by its name.
        precision: precision of the file.
        inputs: inputs of the file.
        outputs: outputs of the file.
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
    """Return the operators of a float16 file with wider weights; its metadata must list them."""
    return tuple(width.node.name for width in weight_widths(read_graph(path)) if width.bits > 16)


def request_declarations(
    request: ExportRequest, folded: nn.Module, lowerings: Mapping[str, Lowering]
) -> dict[str, str]:
    """Return the declarations of the file that an exporter writes for a request."""
    inputs: list[Tensor] = [
        (each.name, each.example.dtype.name, each.shape) for each in request.inputs
    ]
    program = request.program
    outputs = traced_outputs(program, request.outputs, open_symbols(program, inputs))
    return declarations(program, folded, lowerings, request.precision, inputs, outputs)


def traced_outputs(
    program: ExportedProgram, names: Sequence[str], open_names: Mapping[str, str]
) -> list[Tensor]:
    """Return the outputs of a traced program, in the form that ``declarations`` takes.

    Args:
        program: the traced model.
        names: names of the outputs, in order.
        open_names: names of open sizes, by the program's symbol for each.
    """
    return [
        (name, str(value.dtype).removeprefix("torch."), _named(value.shape, open_names))
        for name, value in zip(names, user_outputs(program), strict=True)
    ]


def open_symbols(program: ExportedProgram, inputs: Sequence[Tensor]) -> dict[str, str]:
    """Return the name of each open size, by the program's symbol for it.

    Args:
        program: the traced model.
        inputs: inputs in the order of the program, with the names of open sizes in their shapes.
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
    """Replace a program's symbols in a shape by names, also inside expressions."""
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
