"""The precisions of model files, one record each. All other code looks a precision up here.

A precision is that of the weights and, if the format has it, of the arithmetic. The records of
formats list the precisions that they support (``slide_deploy.formats``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Limit:
    """How far an output may be off.

    Args:
        relative: largest absolute error over the largest absolute value of the reference.
        snr_db: least signal-to-noise ratio, in dB.
    """

    relative: float
    snr_db: float

    def looser(self, other: "Limit") -> "Limit":
        """A limit that allows what either of two limits allows."""
        return Limit(max(self.relative, other.relative), min(self.snr_db, other.snr_db))


# Float32 forms of one network differ from float64 by up to 1e-5 of the largest logit (measured on
# the published sizes with random weights). Ten times that leaves room for other machines' kernels.
# A wrong bias, border or scale exceeds it by far. Noise of 1e-4 everywhere would be 80 dB.
FLOAT32_LIMIT = Limit(relative=1e-4, snr_db=80.0)

# All of a network in float16 gave 43 dB on Slide-Swin-T with random weights, float16 weights alone
# 47 dB (PyTorch on the CPU). 40 dB is an error of 1 % of the logits' root mean square; no single
# logit may be off by more than 5 % of the largest.
FLOAT16_LIMIT = Limit(relative=0.05, snr_db=40.0)

# Slide-Swin-T in bfloat16 gave from 25 dB (PyTorch) to 41 dB (OpenVINO) with random weights; the
# trained examples kept 42 and 55 dB. 20 dB is an error of 10 % of the logits' root mean square,
# less than twice the worst of these.
BFLOAT16_LIMIT = Limit(relative=0.15, snr_db=20.0)

# Measured on the outputs for examples that calibration did not see, after subtracting their mean.
# Correct files gave 13 dB (Slide-Swin-T with random weights, which are limited to half their
# range), 24 to 28 dB (small networks of convolutions and matmuls with random weights) and 39 to 48
# dB (trained on digits), with errors of at most 20 % of the largest value. With one weight's scale
# wrong by a factor of 2 or 1/4, small networks fell to -7 to -1 dB. Trained ones fell to 7 to 27
# dB, because their other layers compensate. 8 dB is less than twice the worst correct error.
INT8_LIMIT = Limit(relative=0.5, snr_db=8.0)

# Weights of 8 bits gave 36 to 39 dB on Slide-Swin-T with random weights, 47 to 55 dB on the trained
# examples (the worst case of each file; all formats). 30 dB is an error of 3 %, twice the worst of
# these. Per-tensor scales instead of per-channel scales exceed it.
INT8_WEIGHTS_LIMIT = Limit(relative=0.05, snr_db=30.0)

# Palettes of 64 values gave 26 dB and 4 % on Slide-Swin-T with random weights, 39 and
# 42 dB on the trained examples (Core ML programs in the interpreter). The limit is twice the worst.
PALETTES_LIMIT = Limit(relative=0.1, snr_db=20.0)


@dataclass(frozen=True)
class Precision:
    """A precision of files.

    Attributes:
        name: name on the command line and in files.
        meaning: content of such a file, as a clause.
        limit: how far the file's outputs may be off those of the model in float64.
        layer_db: smallest signal-to-noise ratio in dB at which a value counts as a layer's output.
        weight_bits: bit widths of the weights of convolutions and matmuls: each of them occurs. 32
            stands for 32 and more, and 8 of palettes for 8 and fewer.
        spare_bits: widths that may occur besides, for weights that are better kept so; no other
            width occurs.
        has_palettes: whether narrow weights are indices into a table of floats.
        value_bits: bit width to which some values between operators are rounded; no value is
            rounded to another width. None if none is rounded.
        measured_as: by target, the precision whose speed such files have there.
        made_by: function of a format's quantiser that makes such a file from another, see
            ``Format.made_of``; if the quantiser lacks it, the exporter writes the file directly.
        is_calibrated: whether making it requires examples to calibrate the ranges of values. Such
            files are verified on other examples, as the ranges do not cover noise and borders.
        can_overflow: whether numbers of float32 may exceed its range. Operators that meet such
            numbers on the inputs of the verification, or on examples, stay in float32.
        computed_in: by target, the precision that the runtime is set to for such files, if that
            is not float32.
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
        """Whether weights are narrower than any floating-point type of the hardware."""
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
    # On CPUs both keep float16 weights and compute in float32: the same kernels.
    measured_as={"openvino:cpu": "float32", "onnxruntime:cpu": "float32"},
    made_by="halve",
    can_overflow=True,
    computed_in=dict.fromkeys(("openvino:gpu", "openvino:npu", "onnxruntime:tensorrt"), "float16"),
)
BFLOAT16 = Precision(
    name="bfloat16",
    meaning="a float32 file that runs in bfloat16",
    limit=BFLOAT16_LIMIT,
    layer_db=10.0,  # layers agree to 20 dB and more
    weight_bits=frozenset({32}),
    computed_in=dict.fromkeys(("openvino:cpu", "openvino:auto"), "bfloat16"),
)
INT8 = Precision(
    name="int8",
    meaning="large matmuls of 8-bit weights and activations, the rest in float32",
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
    # Weights are converted to float32 when the file is loaded: the same kernels.
    measured_as={"onnxruntime:cpu": "float32", "openvino:cpu": "float32", "coreml:all": "float16"},
    made_by="quantise_weights",
)
PALETTES = Precision(
    name="palettes",
    meaning="weights as indices into tables of 64 values, arithmetic in float16",
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
    """Find a precision by its name.

    Raises:
        InputError: if there is none.
    """
    for precision in PRECISIONS:
        if precision.name == name:
            return precision
    known = ", ".join(precision.name for precision in PRECISIONS)
    raise InputError(f"{name} is not a precision: choose one of {known}.")
