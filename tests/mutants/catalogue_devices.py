"""Mutants of Core AI and ExecuTorch files, whose libraries are in a separate environment."""

from collections.abc import Callable
from pathlib import Path

from tests.mutants import coreai_damage as coreai
from tests.mutants import executorch_damage as executorch
from tests.mutants.coreai_damage import in_metadata, in_program
from tests.mutants.executorch_damage import in_content
from tests.mutants.kinds import file
from tests.mutants.mutant import REFUSED, Catcher, Mutant


def of_one_format(format: str) -> Callable[..., Mutant]:
    """Make the function that creates mutants of one format."""

    def kind(
        name: str,
        description: str,
        edit: Callable[[Path], object],
        catcher: Catcher,
        rule: str = "",
    ) -> Mutant:
        return file(name, description, {format: catcher}, {format: edit}, rule={format: rule})

    return kind


_asset, _pte = of_one_format("coreai"), of_one_format("executorch")

COREAI = (
    _asset(
        "unlisted-operator",
        "An operator is standard and not allowed.",
        in_program(coreai.unlisted_operator),
        "both",
        "SD004",
    ),
    _asset("relu-for-gelu", "GELU is a ReLU.", in_program(coreai.relu_for_gelu), "parity"),
    _asset(
        "residual-subtracted",
        "A residual sum became a difference.",
        in_program(coreai.residual_subtracted),
        "parity",
    ),
    _asset(
        "softmax-over-another-axis",
        "A softmax runs over another axis.",
        in_program(coreai.softmax_over_another_axis),
        "parity",
    ),
    _asset(
        "epsilon-everywhere",
        "All normalisations have the epsilon 1e-3, not 1e-5.",
        in_program(coreai.epsilon("1.0E-3")),
        "both",
        "SD019",
    ),
    _asset(
        "epsilon-a-little-smaller",
        "All normalisations have the epsilon 9.9e-6, not 1e-5.",
        in_program(coreai.epsilon("9.9E-6")),
        "check",
        "SD019",
    ),
    _asset(
        "input-renamed",
        "The input has another name.",
        in_program(coreai.renamed("arg_attrs")),
        "check",
        "SD010",
    ),
    _asset(
        "output-renamed",
        "The output has another name.",
        in_program(coreai.renamed("res_attrs")),
        "check",
        "SD010",
    ),
    _asset(
        "halves",
        "A value is cast to float16 and back.",
        in_program(coreai.through("f16")),
        "both",
        "SD021",
    ),
    _asset(
        "doubles",
        "A value is cast to float64 and back.",
        in_program(coreai.in_doubles),
        "check",
        "SD007",
    ),
    _asset(
        "rank-6",
        "A value passes through rank 6 and back.",
        in_program(coreai.rank_6),
        "check",
        "SD008",
    ),
    _asset("clipped", "Activations are cut off at 3.", in_program(coreai.clipped), "parity"),
    _asset(
        "values-read-the-keys",
        "The values' convolution reads the keys' map.",
        in_program(coreai.values_read_the_keys),
        "parity",
    ),
    _asset(
        "border-of-ones",
        "The border is padded with ones.",
        in_program(coreai.border_of_ones),
        "both",
        "SD017",
    ),
    _asset(
        "border-replicated-in-the-file",
        "Neighbours outside are the nearest ones.",
        in_program(coreai.border_replicated),
        "both",
        "SD017",
    ),
    _asset(
        "map-transposed",
        "Rows and columns of a map are exchanged.",
        in_program(coreai.map_transposed),
        "parity",
    ),
    _asset("truncated", "Half of the program is missing.", coreai.truncated, "both", REFUSED),
    _asset("one-byte", "One byte of the program is another.", coreai.one_byte, "both", REFUSED),
    _asset("without-hash", "The hash is missing.", coreai.without_hash, "both", REFUSED),
    _asset(
        "without-census",
        "The file does not say what mixes channels.",
        in_metadata(coreai.without_census),
        "check",
        "SD017",
    ),
    _asset(
        "another-precision",
        "The file claims another precision.",
        in_metadata(coreai.other_precision),
        "check",
        "SD021",
    ),
    _asset(
        "format-of-the-future",
        "The file format has a version that does not exist.",
        in_metadata(coreai.of_the_future),
        "check",
        "SD003",
    ),
)

EXECUTORCH = (
    _pte("one-weight", "One weight is another.", in_content(executorch.one_weight), "parity"),
    _pte(
        "not-a-number",
        "One weight is not a number.",
        in_content(executorch.a_weight_not_a_number),
        "check",
        "SD015",
    ),
    _pte(
        "another-epsilon",
        "The normalisation has the epsilon 1e-3, not 1e-5.",
        in_content(executorch.another_epsilon),
        "check",
        "SD019",
    ),
    _pte(
        "another-padding",
        "A convolution is padded by two rows at the top.",
        in_content(executorch.another_padding),
        "check",
        "SD002",
    ),
    _pte(
        "another-stride",
        "A convolution takes every other row.",
        in_content(executorch.another_stride),
        "check",
        "SD002",
    ),
    _pte(
        "another-census",
        "The file claims another number of outputs of a convolution.",
        in_content(executorch.another_census),
        "check",
        "SD017",
    ),
    _pte(
        "another-name",
        "The file claims another name of its input.",
        in_content(executorch.another_name),
        "check",
        "SD010",
    ),
    _pte(
        "bytes-behind",
        "Bytes that nothing refers to stand behind the file.",
        in_content(executorch.bytes_behind),
        "check",
        "SD013",
    ),
    _pte(
        "half-a-file",
        "Half of the file is missing.",
        in_content(executorch.half_a_file),
        "parity",
    ),
    _pte(
        "another-library",
        "The delegate is of a library that does not exist.",
        in_content(executorch.another_library),
        "parity",
    ),
    _pte(
        "another-operator",
        "An operator has a name that nobody knows.",
        in_content(executorch.another_operator),
        "check",
        "SD004",
    ),
)
