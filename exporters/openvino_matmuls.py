"""Selects the faster matmul kernel of OpenVINO's CPU plugin.

The plugin has two kernels for a matmul with weights: MLAS if nothing is fused behind it, oneDNN if
an operator is. oneDNN is some percent faster for matmuls with at least as many outputs as inputs,
and more for few rows (``docs/performance.md``). A clip above every activation is such an operator
and changes no finite number. Every file has the clips, because the device is not known when the
file is written. In float16 their limit becomes infinite.
"""

from typing import Any

# Just below the largest float32.
LIMIT = 3.4e38
# Smaller matmuls were not measured.
LEAST_INPUTS = 64


def clip_matmuls(model: Any) -> None:
    """Insert a clip behind each matmul of tokens that it makes faster. The model is changed."""
    from openvino import opset13

    for matmul in model.get_ordered_ops():
        if not _gains(matmul):
            continue
        last = _with_bias(matmul)
        readers = last.output(0).get_target_inputs()
        if any(reader.get_node().get_type_name() == "Gelu" for reader in readers):
            continue  # Gelu is fused and selects oneDNN already
        clip = opset13.clamp(last, -LIMIT, LIMIT)
        clip.set_friendly_name(f"{last.get_friendly_name()}/Clip")
        for reader in readers:
            reader.replace_source_output(clip.output(0))


def _gains(node: Any) -> bool:
    """Return whether a node is a matmul of tokens with at least as many outputs as inputs."""
    if node.get_type_name() != "MatMul" or not _is_constant(node.input_value(1)):
        return False
    tokens, weights = (node.input(side).get_partial_shape() for side in (0, 1))
    if not weights.is_static or len(weights) != 2 or tokens.rank.get_length() < 3:
        return False
    outputs, inputs = weights.to_shape()
    if not node.get_attributes()["transpose_b"]:
        outputs, inputs = inputs, outputs
    return outputs >= inputs >= LEAST_INPUTS


def _with_bias(matmul: Any) -> Any:
    """Return the addition of a bias behind a matmul, or the matmul if there is none."""
    readers = list(matmul.output(0).get_target_inputs())
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Add":
        return matmul
    addition = readers[0].get_node()
    other = addition.input_value(1 - readers[0].get_index())
    return addition if _is_constant(other) else matmul


def _is_constant(value: Any) -> bool:
    node = value.get_node()
    if node.get_type_name() in ("Convert", "Reshape"):  # of float16 weights, of biases
        return _is_constant(node.input_value(0))
    return node.get_type_name() == "Constant"
