"""The interpreter knows every operator that a converted vision network can hold."""

import re
from pathlib import Path

import pytest

from slide_deploy.backends.mil_interpreter.operators import FAMILIES, OPERATORS
from slide_deploy.saved.mlpackage.decompression import DECOMPRESSORS

# Operators of coremltools that the interpreter leaves out, and why.
LEFT_OUT = (
    (
        "const",
        "is no operation: the plan reads its value",
    ),
    (
        "_const_symbolic",
        "stands for a size while coremltools converts, and no file holds it",
    ),
    (
        "classify",
        "answers a label and a dictionary, which a developer may ask for behind the numbers",
    ),
    (
        "conv_quantized",
        "belongs to the older format; a program holds quantised weights as constexpr operators",
    ),
    (
        "make_list list_gather list_length list_read list_scatter list_write",
        "keep Python lists of TorchScript loops, and no traced network has one",
    ),
    (
        "random_bernoulli random_categorical random_normal random_uniform",
        "answer differently every time, so that there is nothing to compare",
    ),
    (
        "read_state",
        "needs numbers from an earlier call, as language models do; images come one by one",
    ),
    (
        "cond while_loop",
        "are control flow, which the graph rules refuse",
    ),
    (
        "batch_to_space clamped_relu crop_resize depth_to_space flatten2d l2_norm l2_pool "
        "local_response_norm reduce_l1_norm reduce_log_sum reduce_sum_square reshape_like resize "
        "resize_bilinear resize_nearest_neighbor reverse_sequence scaled_tanh sliding_windows "
        "space_to_batch space_to_depth",
        "come from other frontends of coremltools: it converts nothing of PyTorch to them",
    ),
    (
        "affine gru lstm non_maximum_suppression rnn",
        "are written for TorchScript, which is not exported, or refused by the graph rules",
    ),
    (
        "constexpr_sparse_to_dense constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale "
        "constexpr_cast",
        "are of pruned weights and of an older backend, which no export writes",
    ),
)
# What coremltools' frontend asks of the builder beside operators.
NO_OPERATORS = {"Builder", "TensorSpec", "placeholder", "scope", "set_before_op", "program"} | {
    "state_tensor_placeholder",
    # Called by the frontend, and defined nowhere: such a network cannot be converted.
    "acosh",
    "asinh",
}
KNOWN = {*OPERATORS, *DECOMPRESSORS}
EXPLAINED = [name for names, _ in LEFT_OUT for name in names.split()]


@pytest.fixture(scope="module")
def registry():
    """coremltools' own list of operators: ``core_ops`` can be saved, ``dialect_ops`` cannot."""
    import coremltools  # noqa: F401  fills the registry
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return SSAOpRegistry


def emitted_by_the_frontend(package: Path) -> set[str]:
    """Every ``mb.NAME`` in the frontend for torch and in the passes that clean up after it."""
    folders = (
        "converters/mil/frontend/torch",
        "converters/mil/mil/passes",
        "converters/mil/backend",
    )
    sources = [
        path
        for folder in folders
        for path in (package / folder).rglob("*.py")
        if not path.name.startswith("test_")
    ]
    return {
        name
        for path in sources
        for name in re.findall(r"\bmb\.([a-z]\w*)", path.read_text("utf-8"))
    }


def test_every_operator_that_the_frontend_emits_is_supported_or_explained(registry):
    import coremltools

    emitted = emitted_by_the_frontend(Path(coremltools.__file__).parent)
    assert len(emitted) > 140
    unknown = emitted - KNOWN - set(EXPLAINED) - NO_OPERATORS - set(registry.dialect_ops)
    assert unknown - {"function"} == set()


def test_every_operator_that_a_file_can_hold_is_supported_or_explained(registry):
    assert set(registry.core_ops) - KNOWN - set(EXPLAINED) == set()


def test_explained_operators_exist_and_are_unsupported(registry):
    assert len(EXPLAINED) == len(set(EXPLAINED))
    assert set(EXPLAINED) <= set(registry.core_ops)
    assert set(EXPLAINED) & KNOWN == set()


def test_every_parameter_of_every_version_of_an_operator_is_supported(registry):
    differing = {}
    for name, operator in OPERATORS.items():
        versions = registry.core_ops[name].values()
        theirs = {parameter for op in versions for parameter in op.input_spec.input_types}
        ours = {*operator.required, *operator.optional}
        if theirs != ours:
            differing[name] = theirs ^ ours
    assert differing == {}


def test_a_parameter_is_required_only_if_every_version_requires_it(registry):
    for name, operator in OPERATORS.items():
        for version in registry.core_ops[name].values():
            given = version.input_spec.input_types
            optional = {parameter for parameter, kind in given.items() if kind.optional}
            # The frontend writes every parameter, those with a default too.
            assert set(operator.required) - set(given) == set(), name
            assert set(operator.required) & optional == set(), name


def test_an_operator_belongs_to_one_family():
    assert len(OPERATORS) == sum(map(len, FAMILIES))
