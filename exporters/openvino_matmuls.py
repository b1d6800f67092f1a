"""Which kernel OpenVINO multiplies with.

Its plugin for CPUs has two for a product with weights: the plain one of MLAS where nothing follows,
oneDNN's where an operator is fused behind. The second is the faster one where a product has as many
outputs as inputs or more, by some percent, with few rows by more (``docs/performance.md``). A clip
at more than any activation changes no finite number and is such an operator. It stands in every
file, as nothing in one tells on which device it will run; in half precision the limit is infinite.
"""

from typing import Any

# Next to the largest float32.
LIMIT = 3.4e38
# Nothing was measured below.
LEAST_INPUTS = 64


def clip_matmuls(model: Any) -> None:
    """Let a clip follow the products of tokens that are faster so, in place.

    Args:
        model: an OpenVINO model.
    """
    from openvino import opset13

    for product in model.get_ordered_ops():
        if not _gains(product):
            continue
        last = _with_bias(product)
        readers = last.output(0).get_target_inputs()
        if any(reader.get_node().get_type_name() == "Gelu" for reader in readers):
            continue  # it is fused itself
        clip = opset13.clamp(last, -LIMIT, LIMIT)
        clip.set_friendly_name(f"{last.get_friendly_name()}/Clip")
        for reader in readers:
            reader.replace_source_output(clip.output(0))


def _gains(node: Any) -> bool:
    """Whether a node multiplies tokens with weights that have as many outputs as inputs or more."""
    if node.get_type_name() != "MatMul" or not _is_constant(node.input_value(1)):
        return False
    tokens, weights = (node.input(side).get_partial_shape() for side in (0, 1))
    if not weights.is_static or len(weights) != 2 or tokens.rank.get_length() < 3:
        return False
    outputs, inputs = weights.to_shape()
    if not node.get_attributes()["transpose_b"]:
        outputs, inputs = inputs, outputs
    return outputs >= inputs >= LEAST_INPUTS


def _with_bias(product: Any) -> Any:
    """The addition of a constant behind a product, as biases are, or else the product."""
    readers = list(product.output(0).get_target_inputs())
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Add":
        return product
    addition = readers[0].get_node()
    other = addition.input_value(1 - readers[0].get_index())
    return addition if _is_constant(other) else product


def _is_constant(value: Any) -> bool:
    node = value.get_node()
    if node.get_type_name() in ("Convert", "Reshape"):  # of weights in half precision, of biases
        return _is_constant(node.input_value(0))
    return node.get_type_name() == "Constant"
