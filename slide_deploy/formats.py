"""The formats of model files, one record each. All other code looks a format up here.

Modules are named as text and imported when they are needed, so that this module is light: shell
completion needs the names of formats, and a device without torch needs the runtimes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Delegate:
    """A library that runs parts of a file and is chosen when the file is written.

    Attributes:
        name: name on the command line; FORMAT:NAME is the target that verifies files for it.
        precisions: precisions in which its files can be written, the default first.
    """

    name: str
    precisions: tuple[str, ...] = ("float32",)


@dataclass(frozen=True)
class Format:
    """A format of model files.

    Attributes:
        name: name on the command line.
        suffix: suffix of the file or folder that other programs open.
        exporter: module with ``write(request, path)``; see ``exporters.base``.
        reader: module with ``read(path, sizes)``; see ``graph_checks.readers``.
        targets: names of the targets in ``slide_deploy.backends`` that verify its files. The first
            available one runs them here; the last one returns the intermediates.
        packages: import names of the libraries that writing requires.
        extra: extra of slide-deploy that installs them.
        default_form: form of slide attention where the runtime has no measurements, or where the
            fastest form cannot write an attention.
        precisions: precisions in which it can be written; see ``slide_deploy.precisions``.
        companions: suffixes of the files that belong to the main one.
        weights_apart: suffix of the file that holds the weights if the main one cannot; else empty.
        is_folder: whether the format is a folder and not a file.
        passes: modules of ``slide_deploy.passes`` that rewrite a traced network, in order.
        max_rank: largest rank of a tensor; None for any.
        quantiser: module with one function per precision that is made from a float file; see
            ``exporters.quantisation``. Empty if there is none.
        made_of: precision of the file that quantised ones are made from.
        quantised: families of operators that are faster in int8; see
            ``exporters.quantisation.families``.
        other_passes: passes that replace ``passes``, by precision.
        meanings: content of a file by precision, where it differs from the precision's own record.
        delegates: available delegates, the default first.
        takes_pictures: whether files take pixels as an image object of the operating system, which
            has its own layout and channel order.
        proved_on: target that verifies files of a precision instead of ``targets``.
        made_for: target on which most files will run, if that is not the first of ``targets``.
        is_preview: whether its vendor may still change it. Such a format is not part of "all".
        is_source: whether networks are read from its files, to be folded and exported again.
    """

    name: str
    suffix: str
    exporter: str
    reader: str
    targets: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    default_form: str
    precisions: tuple[str, ...] = ("float32",)
    companions: tuple[str, ...] = ()
    weights_apart: str = ""
    is_folder: bool = False
    passes: tuple[str, ...] = ("common_operators", "parallel_branches")
    max_rank: int | None = None
    quantiser: str = ""
    made_of: str = "float32"
    quantised: tuple[str, ...] = ()
    other_passes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    delegates: tuple[Delegate, ...] = ()
    takes_pictures: bool = False
    proved_on: Mapping[str, str] = field(default_factory=dict)
    made_for: str = ""
    is_preview: bool = False
    is_source: bool = False

    @property
    def target(self) -> str:
        """The target on which most files will run, as RUNTIME:DEVICE."""
        return self.made_for or self.targets[0]

    @property
    def is_installed(self) -> bool:
        """Whether the libraries that write it are installed."""
        return all(find_spec(package) is not None for package in self.packages)

    @property
    def every_precision(self) -> tuple[str, ...]:
        """All precisions in which it can be written, for any delegate."""
        others = (name for each in self.delegates for name in each.precisions)
        return tuple(dict.fromkeys((*self.precisions, *others)))

    def delegate(self, name: str | None) -> Delegate | None:
        """Find the delegate that files are written for; None if the format has none.

        Args:
            name: name of the delegate, in any case; None for the default.

        Raises:
            InputError: if the format has delegates, but not this one.
        """
        if not self.delegates or name is None:
            return next(iter(self.delegates), None)
        for each in self.delegates:
            if each.name == name.lower():
                return each
        known = ", ".join(each.name for each in self.delegates)
        raise InputError(f"{self.name} has no delegate {name}: choose one of {known}.")


# Passes that help on every runtime. ``docs/passes.md`` says what each of them gains.
PASSES = (
    "common_operators",
    "parallel_branches",
    "early_selections",
    "constants",
    "patch_merging",
    "packed_projections",
    "factors",
    "added_constants",
    "movements",
    "normalised_projections",
)

# ONNX Runtime keeps feature maps between convolutions in its own blocked layout, so that tokens
# written as feature maps are faster. It adds biases in extra passes, so that fewer biases are
# faster.
ONNX = Format(
    name="onnx",
    is_source=True,
    suffix=".onnx",
    weights_apart=".onnx.data",
    exporter="exporters.onnx_exporter",
    reader="slide_deploy.graph_checks.readers.onnx_file",
    targets=("onnxruntime:cpu",),
    # On CPUs ONNX Runtime skips the rounding to float16, which hides overflow.
    proved_on={"float16": "onnxruntime:rounded"},
    packages=("onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    default_form="running-mean",
    passes=(
        "common_operators",
        "parallel_branches",
        "early_selections",
        "constants",
        "normalised_projections",
        "channels_first",
        "patch_merging",
        "packed_projections",
        "factors",
        "added_constants",
        "movements",
        "absorbed_biases",
        "head_matmuls",
        "biases_apart",
    ),
    precisions=("float32", "float16", "int8", "int8-weights"),
    quantiser="exporters.quantisation.onnx_file",
    quantised=("projections", "head"),
    # Integer matmuls apply to tokens: an integer convolution leaves the blocked layout. Biases are
    # separate, because a matmul fused with its bias would not be an integer matmul. Float16 files
    # are for GPUs, which are faster with few operators and with tokens as they are.
    other_passes={"int8": (*PASSES, "biases_apart"), "float16": PASSES},
)

# OpenVINO has a single operator for normalisations and adds biases for free. Its float16 files hold
# float16 weights; the device chooses the arithmetic. Int8 pays in feature maps and attention, too
# (docs/quantised-operators.md).
OPENVINO = Format(
    name="openvino",
    suffix=".xml",
    exporter="exporters.openvino_exporter",
    reader="slide_deploy.graph_checks.readers.openvino_ir",
    targets=("openvino:cpu",),
    packages=("openvino",),
    extra="openvino",
    default_form="running-mean",
    precisions=("float32", "float16", "bfloat16", "int8", "int8-weights"),
    companions=(".bin",),
    passes=PASSES,
    meanings={
        "float16": "weights in float16; the device chooses its arithmetic, a processor float32"
    },
    quantiser="exporters.quantisation.openvino_file",
    quantised=("projections", "pointwise", "patches", "head", "attention"),
)

# Nothing was measured on Apple's devices, so the default is the form with the smallest graph.
# running-mean loses too many bits in float16. Float16 applies to weights and arithmetic, and
# "mixed" keeps everything but the projections in float32.
COREML = Format(
    name="coreml",
    suffix=".mlpackage",
    exporter="exporters.coreml_exporter",
    reader="slide_deploy.graph_checks.readers.mlpackage",
    # On the CPU Core ML computes float32 programs in float32.
    targets=("coreml:cpu", "mil-interpreter:cpu"),
    made_for="coreml:all",
    packages=("coremltools",),
    extra="coreml",
    default_form="depthwise",
    precisions=("float32", "float16", "mixed", "int8-weights", "palettes"),
    is_folder=True,
    # Rolls come first, because the converter turns a cyclic shift into a gather.
    passes=("rolls", *PASSES),
    max_rank=5,
    takes_pictures=True,
    meanings={"int8-weights": "weights of 8 bits, arithmetic in float16"},
    quantiser="exporters.quantisation.coreml_file",
    made_of="float16",
    quantised=("projections", "pointwise", "convolutions", "head"),
)

# XNNPACK computes on NHWC feature maps, and takes over a whole network if it supports every
# operator. So normalisations, and softmaxes along inner axes, are written out for it.
LITERT = Format(
    name="litert",
    suffix=".tflite",
    exporter="exporters.litert_exporter",
    reader="slide_deploy.graph_checks.readers.tflite",
    targets=("litert:cpu", "litert:reference"),
    packages=("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    extra="litert",
    default_form="running-mean",
    precisions=("float32", "float16"),
    meanings={"float16": "weights in float16; arithmetic in float32"},
    # Writing out comes last, because other passes look for the original operators.
    passes=(*PASSES, "written_out"),
)

# Core ML's successor, a beta. The effect of the passes was not measured. It uses Core ML's default
# form, for the same reasons.
COREAI = Format(
    name="coreai",
    suffix=".aimodel",
    exporter="exporters.coreai_exporter",
    reader="slide_deploy.graph_checks.readers.aimodel",
    targets=("coreai:cpu",),
    packages=("coreai", "coreai_torch"),
    extra="coreai",
    default_form="depthwise",
    is_folder=True,
    passes=PASSES,
    is_preview=True,
)

# ``exporters.executorch_operators`` rewrites what XNNPACK does not support. Only normalisations of
# tokens and the mean of the classifier then run on ExecuTorch's own kernels. Flat is the fastest
# form there, and depthwise by far the slowest (tuning/defaults.json).
EXECUTORCH = Format(
    name="executorch",
    suffix=".pte",
    exporter="exporters.executorch_exporter",
    reader="slide_deploy.graph_checks.readers.pte",
    targets=("executorch:coreml", "executorch:vulkan", "executorch:xnnpack"),
    packages=("torch", "executorch"),
    extra="executorch",
    default_form="flat",
    passes=PASSES,
    delegates=(Delegate("xnnpack"), Delegate("coreml", ("float16", "float32")), Delegate("vulkan")),
    made_for="executorch:xnnpack",
)

FORMATS = (ONNX, OPENVINO, COREML, LITERT, EXECUTORCH, COREAI)


def refuse_delegate(formats: Sequence[Format], name: str | None) -> None:
    """Refuse a delegate that no format supports.

    Raises:
        InputError: if no format has delegates, or if one that has them lacks this one.
    """
    if name is None:
        return
    able = [format for format in formats if format.delegates]
    if not able:
        having = " or ".join(format.name for format in FORMATS if format.delegates)
        raise InputError(
            f"--delegate {name} is for {having}: add it to the formats, or leave --delegate out."
        )
    for format in able:
        format.delegate(name)


def known_formats() -> tuple[Format, ...]:
    """Every format, in the order in which they are listed."""
    return FORMATS


def format_names() -> tuple[str, ...]:
    """The name of every format."""
    return tuple(format.name for format in FORMATS)


def suffixes() -> tuple[str, ...]:
    """The suffix of every format."""
    return tuple(format.suffix for format in FORMATS)


def format_named(name: str) -> Format:
    """Find a format by its name.

    Raises:
        InputError: if there is none.
    """
    for format in FORMATS:
        if format.name == name:
            return format
    raise InputError(f"{name} is not a format: choose one of {', '.join(format_names())}.")


def find_format(path: Path) -> Format | None:
    """Find the format of a file by its suffix, in any case; None if it is unknown."""
    suffix = path.suffix.lower()
    return next((format for format in FORMATS if format.suffix == suffix), None)


def format_of(path: Path) -> Format:
    """Find the format of a file by its suffix, in any case.

    Raises:
        InputError: if it is unknown.
    """
    found = find_format(path)
    if found is None:
        known = ", ".join(suffixes())
        raise InputError(f"{path} is of no known kind: give a file that ends in one of {known}.")
    return found


def format_run_on(target: str) -> Format | None:
    """Find the format for the runtime of a target RUNTIME:DEVICE; None if there is none."""
    runtime = target.split(":")[0]
    return next((format for format in FORMATS if format.target.split(":")[0] == runtime), None)
