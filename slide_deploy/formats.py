"""The formats that are written, read, run and checked: one record each.

Everything else looks a format up here. Modules are named as text and imported when they are needed,
so that this file is light: the shell completes the names of formats, and a device without torch
finds its runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Delegate:
    """A library that runs parts of a file, of which one is chosen when the file is written.

    Attributes:
        name: as the user gives it; FORMAT:NAME is the target that proves files for it.
        precisions: in which files for it are written, the default first.
    """

    name: str
    precisions: tuple[str, ...] = ("float32",)


@dataclass(frozen=True)
class Format:
    """A format of model files.

    Attributes:
        name: as the user gives it.
        suffix: of the file or folder that other programs open.
        exporter: module with ``write(request, path)``; see ``exporters.base``.
        reader: module with ``read(path, sizes)``; see ``graph_checks.readers``.
        targets: that its files are proved on, by their names in ``slide_deploy.backends``. The
            first that is present runs them here; the last one shows the values inside.
        packages: libraries that writing needs, as Python imports them.
        extra: the extra of slide-deploy that brings them.
        default_form: of slide attention, where nothing was measured on targets of that runtime, or
            the form that was fastest cannot write an attention.
        precisions: in which it can be written; see ``slide_deploy.precisions``.
        companions: suffixes of the files that belong to the first one.
        is_folder: whether what other programs open is a folder.
        passes: rewrites of a traced network, in order; modules of ``slide_deploy.passes``.
        max_rank: axes that a tensor may have; None for any number.
        quantiser: module with a function for each precision that is made of a file in float32; see
            ``exporters.quantisation``. Empty if there is none.
        made_of: precision of the files that quantised ones are made of.
        quantised: families of operators that gain where they compute in int8; see
            ``exporters.quantisation.families``.
        other_passes: rewrites in the place of ``passes``, by precision.
        meanings: what a file of a precision holds, where that is not what the precision's own
            record says.
        delegates: that it has a choice of, the default first.
        takes_pictures: whether pixels are given to its files as a picture of the system, whose
            layout and order of channels are the system's own.
        proved_on: by precision, the target that proves files of it in the place of ``targets``.
        made_for: what most of its files run on, where that is not the first of ``targets``.
        is_preview: whether its makers may still change it: it is written where it is named, and is
            none of "all".
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

    @property
    def target(self) -> str:
        """What most files of it run on, as the benchmark calls it: RUNTIME:DEVICE."""
        return self.made_for or self.targets[0]

    @property
    def is_installed(self) -> bool:
        """Whether the libraries that write it are here."""
        return all(find_spec(package) is not None for package in self.packages)

    @property
    def every_precision(self) -> tuple[str, ...]:
        """In which it can be written, for any delegate."""
        others = (name for each in self.delegates for name in each.precisions)
        return tuple(dict.fromkeys((*self.precisions, *others)))

    def delegate(self, wished: str | None) -> Delegate | None:
        """The delegate that files are written for; None where the format has none.

        Args:
            wished: its name, in any spelling; None for the default.

        Raises:
            InputError: if the format has others.
        """
        if not self.delegates or wished is None:
            return next(iter(self.delegates), None)
        for each in self.delegates:
            if each.name == wished.lower():
                return each
        known = ", ".join(each.name for each in self.delegates)
        raise InputError(f"{self.name} has no delegate {wished}: choose one of {known}.")


# What pays or is needed wherever a file runs: one operator for many, four axes at most, nothing
# that is computed twice. ``docs/passes.md`` says what each gives.
PASSES = (
    "common_operators",
    "parallel_branches",
    "duplicates",
    "early_selections",
    "constants",
    "patch_merging",
    "packed_projections",
    "factors",
    "added_constants",
    "movements",
    "normalised_projections",
)

# ONNX Runtime keeps maps between convolutions in a layout of its own, and gains where tokens are
# written on maps. It adds biases in passes of their own, and gains where there are none.
ONNX = Format(
    name="onnx",
    suffix=".onnx",
    exporter="exporters.onnx_exporter",
    reader="slide_deploy.graph_checks.readers.onnx_file",
    targets=("onnxruntime:cpu",),
    # ONNX Runtime leaves the rounding of float16 out on processors, and hides overflow with it.
    proved_on={"float16": "onnxruntime:rounded"},
    packages=("onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    default_form="running-mean",
    passes=(
        "common_operators",
        "parallel_branches",
        "duplicates",
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
        "head_products",
        "biases_apart",
    ),
    precisions=("float32", "float16", "int8", "int8-weights"),
    quantiser="exporters.quantisation.onnx_file",
    quantised=("projections", "head"),
    # Integer products are of tokens: a convolution of integers leaves the layout of convolutions.
    # Biases stay apart, as a product and a bias in one would be no product of integers any more.
    # Files of float16 are for GPUs, which gain where operators are few and tokens stay tokens.
    other_passes={"int8": (*PASSES, "biases_apart"), "float16": PASSES},
)

# OpenVINO has normalisations as one operator, and adds biases for nothing. Its float16 files hold
# float16 weights and compute as the device likes. Int8 pays in maps and attention, too
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

# Nothing was measured on Apple's devices. So its form is the canonical one, whose graph is the
# smallest: running-mean loses too many bits in float16. Core ML's float16 is that of weights and
# arithmetic, and "mixed" keeps all but the projections in float32.
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
    # First: where its converter makes a gather of a shift.
    passes=("rolls", *PASSES),
    max_rank=5,
    takes_pictures=True,
    meanings={"int8-weights": "weights of 8 bits, arithmetic in float16"},
    quantiser="exporters.quantisation.coreml_file",
    made_of="float16",
    quantised=("projections", "pointwise", "convolutions", "head"),
)

# XNNPACK computes on maps with the channels last, and takes a whole network where all of it is
# operators that it has: normalisations, and softmaxes along inner axes, are written out for it.
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
    # Last: what it writes out is what other passes look for.
    passes=(*PASSES, "written_out"),
)

# Core ML's successor, whose package is a beta. It has Core ML's form, for the same reasons.
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

# XNNPACK gets what it does not take written as what it takes (``exporters.executorch_operators``):
# only normalisations of tokens and the mean of the classifier run on ExecuTorch's own kernels.
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


def refuse_delegate(formats: Sequence[Format], wished: str | None) -> None:
    """Refuse a delegate that none of the formats has.

    Raises:
        InputError: if no format has delegates, or one that has them lacks this one.
    """
    if wished is None:
        return
    able = [format for format in formats if format.delegates]
    if not able:
        having = " or ".join(format.name for format in FORMATS if format.delegates)
        raise InputError(
            f"--delegate {wished} is for {having}: add it to the formats, or leave --delegate out."
        )
    for format in able:
        format.delegate(wished)


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
    """A format by its name.

    Raises:
        InputError: if there is none.
    """
    for format in FORMATS:
        if format.name == name:
            return format
    raise InputError(f"{name} is not a format: choose one of {', '.join(format_names())}.")


def find_format(path: Path) -> Format | None:
    """The format of a file, by its suffix in any spelling; None if it is no known one."""
    suffix = path.suffix.lower()
    return next((format for format in FORMATS if format.suffix == suffix), None)


def format_of(path: Path) -> Format:
    """The format of a file, by its suffix in any spelling.

    Raises:
        InputError: if it is no known one.
    """
    found = find_format(path)
    if found is None:
        known = ", ".join(suffixes())
        raise InputError(f"{path} is of no known kind: give a file that ends in one of {known}.")
    return found


def format_run_on(target: str) -> Format | None:
    """The format that is written for a target, by its runtime; None if none is.

    Args:
        target: RUNTIME:DEVICE.
    """
    runtime = target.split(":")[0]
    return next((format for format in FORMATS if format.target.split(":")[0] == runtime), None)
