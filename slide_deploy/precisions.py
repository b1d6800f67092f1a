"""The precisions in which a file can be written: one record each. Everything else looks them up.

A precision is that of the weights and, where the format has it, of the arithmetic. Which formats
are written in it, their records tell (``slide_deploy.formats``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Limit:
    """How far an answer may be off.

    Args:
        relative: largest absolute error over the largest absolute value of the reference.
        snr_db: least signal-to-noise ratio, in dB.
    """

    relative: float
    snr_db: float

    def looser(self, other: "Limit") -> "Limit":
        """What either of two limits allows."""
        return Limit(max(self.relative, other.relative), min(self.snr_db, other.snr_db))


# Float32 forms of one network differ from float64 by up to 1e-5 of the largest logit (measured on
# the published sizes with random weights). Ten times that leaves room for other machines' kernels;
# a wrong bias, border or scale is far outside. Noise of 1e-4 everywhere would be 80 dB.
FLOAT32_LIMIT = Limit(relative=1e-4, snr_db=80.0)

# All of a network in float16 gave 43 dB on Slide-Swin-T with random weights, float16 weights alone
# 47 dB (PyTorch on the CPU). 40 dB is an error of 1 % of the logits' root mean square; no single
# logit may be off by more than 5 % of the largest.
FLOAT16_LIMIT = Limit(relative=0.05, snr_db=40.0)

# Slide-Swin-T in bfloat16 gave from 25 dB (PyTorch) to 41 dB (OpenVINO) with random weights; the
# trained examples kept 42 and 55 dB. 20 dB is an error of 10 % of the logits' root mean square,
# less than twice the worst of these.
BFLOAT16_LIMIT = Limit(relative=0.15, snr_db=20.0)

# Of answers to examples that no range was measured on, without what they have in common. Right
# files gave 13 dB (Slide-Swin-T with random weights, which are kept to half their range), 24 to
# 28 dB (small networks of convolutions and products with random weights) and 39 to 48 dB (trained
# on digits), with errors of at most 20 % of the largest value. With a weight's scale twice or a
# quarter as large as it should be small networks fell to -7 to -1 dB, and the trained ones to 7 to
# 27 dB, as their other layers make up for much. 8 dB is less than twice the worst right error.
INT8_LIMIT = Limit(relative=0.5, snr_db=8.0)

# Weights of 8 bits gave 36 to 39 dB on Slide-Swin-T with random weights, 47 to 55 dB on the trained
# examples (the worst case of each file; all formats). 30 dB is an error of 3 %, twice the worst of
# these: scales of tensors in the place of those of channels are outside.
INT8_WEIGHTS_LIMIT = Limit(relative=0.05, snr_db=30.0)

# Places in tables of 64 numbers gave 26 dB and 4 % on Slide-Swin-T with random weights, 39 and
# 42 dB on the trained examples (Core ML's program in the interpreter). Twice the worst of these.
PALETTES_LIMIT = Limit(relative=0.1, snr_db=20.0)


@dataclass(frozen=True)
class Precision:
    """A precision of files.

    Attributes:
        name: as the user gives it, and as files claim it.
        meaning: what a file in it holds, a clause.
        limit: how far answers of such a file may be off those of the model in float64.
        layer_db: least signal-to-noise ratio at which a value inside a file is a layer's output.
        weight_bits: how wide the weights of convolutions and matrix products are: each of these
            widths occurs. 32 stands for 32 and more, and 8 of palettes for 8 and fewer.
        spare_bits: widths that may occur beside them, of weights that are better kept so; no other
            width occurs.
        has_palettes: whether narrow weights are places in a table of floats, and not numbers.
        value_bits: how wide values are rounded between operators: some are, and none is rounded to
            another width; None if none is rounded.
        measured_as: by target, the precision whose speed files of this one have there.
        made_by: the function of a format's quantiser that makes such a file of another, see
            ``Format.made_of``; the exporter writes it where the quantiser has no such function.
        is_calibrated: whether making it takes examples, on which ranges of values are measured. Its
            files are proved on other examples, as ranges say nothing of noise and borders.
        can_overflow: whether numbers that float32 holds may be too large for it. Operators that
            meet such numbers on the inputs of the proof, or on examples, stay in float32.
        computed_in: by target, what it is told to compute in for files of this precision, where
            that is not float32.
    """

    name: str
    meaning: str
    limit: Limit
    layer_db: float
    weight_bits: frozenset[int]
    spare_bits: frozenset[int] = frozenset()
    has_palettes: bool = False
    value_bits: int | None = None
    measured_as: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""
    is_calibrated: bool = False
    can_overflow: bool = False
    computed_in: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_quantised(self) -> bool:
        """Whether weights are narrower than any float that hardware computes with."""
        return min(self.weight_bits) < 16

    def measured_on(self, target: str) -> str:
        """The precision whose figures on this target count for files of this one."""
        return self.measured_as.get(target, self.name)


FLOAT32 = Precision(
    name="float32",
    meaning="everything in float32",
    limit=FLOAT32_LIMIT,
    # Two float32 computations of a layer agree to more than 100 dB, different layers to less
    # than 10.
    layer_db=60.0,
    weight_bits=frozenset({32}),
)
FLOAT16 = Precision(
    name="float16",
    meaning="weights and arithmetic in float16, float32 for what overflows",
    limit=FLOAT16_LIMIT,
    layer_db=30.0,  # layers agree to 40 dB and more
    weight_bits=frozenset({16}),
    # Weights that float16 cannot hold; the file names them.
    spare_bits=frozenset({32}),
    # On processors both keep float16 weights and compute in float32: the same kernels.
    measured_as={"openvino:cpu": "float32", "onnxruntime:cpu": "float32"},
    made_by="halve",
    can_overflow=True,
    computed_in=dict.fromkeys(("openvino:gpu", "openvino:npu", "onnxruntime:tensorrt"), "float16"),
)
BFLOAT16 = Precision(
    name="bfloat16",
    meaning="a file in float32 that is run in bfloat16",
    limit=BFLOAT16_LIMIT,
    layer_db=10.0,  # layers agree to 20 dB and more
    weight_bits=frozenset({32}),
    computed_in=dict.fromkeys(("openvino:cpu", "openvino:auto"), "bfloat16"),
)
INT8 = Precision(
    name="int8",
    meaning="large products of 8-bit weights and activations, the rest in float32",
    limit=INT8_LIMIT,
    layer_db=5.0,
    weight_bits=frozenset({8}),
    spare_bits=frozenset({16, 32}),
    value_bits=8,
    made_by="quantise",
    is_calibrated=True,
)
INT8_WEIGHTS = Precision(
    name="int8-weights",
    meaning="weights of 8 bits, arithmetic in float32",
    limit=INT8_WEIGHTS_LIMIT,
    layer_db=10.0,
    weight_bits=frozenset({8}),
    spare_bits=frozenset({16, 32}),
    # Weights are turned into float32 when the file is loaded: the same kernels.
    measured_as={"onnxruntime:cpu": "float32", "openvino:cpu": "float32", "coreml:all": "float16"},
    made_by="quantise_weights",
)
PALETTES = Precision(
    name="palettes",
    meaning="weights as places in tables of 64 numbers, arithmetic in float16",
    limit=PALETTES_LIMIT,
    layer_db=10.0,
    weight_bits=frozenset({8}),
    spare_bits=frozenset({16, 32}),
    has_palettes=True,
    measured_as={"coreml:all": "float16"},
    made_by="palettise",
)
MIXED = Precision(
    name="mixed",
    meaning="projections in float16, the rest in float32",
    limit=FLOAT16_LIMIT,
    layer_db=30.0,
    weight_bits=frozenset({16, 32}),
)

PRECISIONS = (FLOAT32, FLOAT16, BFLOAT16, INT8, INT8_WEIGHTS, PALETTES, MIXED)


def known_precisions() -> tuple[Precision, ...]:
    """Every precision, in the order in which they are listed."""
    return PRECISIONS


def precision_named(name: str) -> Precision:
    """A precision by its name.

    Raises:
        InputError: if there is none.
    """
    for precision in PRECISIONS:
        if precision.name == name:
            return precision
    known = ", ".join(precision.name for precision in PRECISIONS)
    raise InputError(f"{name} is not a precision: choose one of {known}.")
