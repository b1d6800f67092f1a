"""Parameters of the operators of ExecuTorch and XNNPACK, under the names of their dialect."""

from collections.abc import Iterator, Mapping
from itertools import chain

from slide_deploy.graph_checks.graph import Attribute
from slide_deploy.saved.pte.program import Held, Method, Several
from slide_deploy.saved.pte.xnnpack import XnnNode

_TRANSPOSE_WEIGHTS = 1
# Names of the parameters of ATen operators, by position among the arguments. Tensors are inputs at
# any position.
_ARGUMENTS: Mapping[str, str] = {
    "aten::native_layer_norm": "_ axes _ _ eps",
    "aten::native_group_norm": "_ _ _ _ _ _ groups eps",
    "aten::_native_batch_norm_legit_no_training": "_ _ _ _ _ momentum eps",
    "aten::convolution": "_ _ _ strides padding dilations transposed output_padding groups",
    "aten::permute_copy": "_ perm",
    "aten::view_copy": "_ shape",
    "aten::constant_pad_nd": "_ amounts value",
    "aten::_softmax": "_ axis",
    "aten::cat": "_ axis",
}


def aten_parameters(method: Method, name: str, held: list[Held]) -> Iterator[tuple[str, Attribute]]:
    """Yield the parameters of an ATen operator, named by ``_ARGUMENTS`` or by position."""
    names = _ARGUMENTS.get(name, "").split()
    for place, argument in enumerate(held):
        known = names[place] if place < len(names) else f"argument {place}"
        if isinstance(argument, int | float | str | tuple):
            yield known, argument
        elif isinstance(argument, Several) and not argument.are_tensors:
            items = [method.values[item] for item in argument.items if item >= 0]
            yield known, tuple(item for item in items if isinstance(item, int))


def common_convolution(
    name: str, attributes: dict[str, Attribute]
) -> tuple[str, dict[str, Attribute]]:
    """Rename a transposed ATen convolution, and repeat its padding for both sides of an axis."""
    padding = attributes.get("padding")
    both = padding if isinstance(padding, tuple) else ()
    attributes["pads"] = (*both, *both)
    return (f"{name}_transposed" if attributes.get("transposed") else name), attributes


def xnnpack_parameters(node: XnnNode) -> Iterator[tuple[str, Attribute]]:
    """Yield the parameters of an XNNPACK operator, under the names of the dialect."""
    held = node.integers
    for name, numbers in node.lists.items():
        # XNNPACK writes 0 for the size that follows from the others.
        yield name, tuple(-1 if name == "shape" and size == 0 else size for size in numbers)
    yield from node.floats.items()
    if node.operator == "FullyConnected":
        yield "transpose_right", not held["flags"] & _TRANSPOSE_WEIGHTS
    elif node.operator == "StaticConstantPad":
        pairs = zip(node.lists["before"], node.lists["behind"], strict=False)
        yield "amounts", tuple(chain.from_iterable(pairs))
    elif "kernel_height" in held:
        yield "pads", (held["top"], held["left"], held["bottom"], held["right"])
        yield "groups", held["groups"]
        for ours, theirs in (("strides", "stride"), ("dilations", "dilation")):
            yield ours, (held[f"{theirs}_height"], held[f"{theirs}_width"])
    elif "axis" in held:
        yield "axis", held["axis"]
