"""What to export for a kind of machine: one record each. ``docs/exporting.md`` shows the table.

A preset is a set of options. Options that a user gives as well win over it.
"""

from dataclasses import dataclass

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Preset:
    """The options for one kind of machine.

    Attributes:
        name: as the user gives it.
        formats: names of the formats that are written.
        precision: in which they are written.
        embed_preprocessing: whether files take pixels from 0 to 255.
        input_layout: of these pixels; pictures in memory have their channels last. Core ML takes
            pictures of the system, whatever this says.
        dynamic_batch: whether the batch is left open.
        lowering: form of the slide attentions; "auto" takes the fastest by measurement.
        reason: why these, sentences.
    """

    name: str
    formats: tuple[str, ...]
    precision: str
    embed_preprocessing: bool
    input_layout: str
    dynamic_batch: bool
    lowering: str
    reason: str


PRESETS = (
    Preset(
        name="cpu",
        formats=("onnx", "openvino"),
        precision="float32",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="auto",
        reason="ONNX Runtime runs on every processor, OpenVINO is often faster on x86: measure "
        "both. A fixed batch of one answers soonest.",
    ),
    Preset(
        name="intel",
        formats=("openvino",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="auto",
        reason="Weights of float16 halve the file. Processors compute in float32 at the same "
        "speed, Intel's GPUs in float16.",
    ),
    Preset(
        name="apple",
        formats=("coreml",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nchw",
        dynamic_batch=False,
        lowering="auto",
        reason="The Neural Engine computes in float16 alone. Vision hands over a picture, one at "
        "a time.",
    ),
    Preset(
        name="android",
        formats=("onnx",),
        precision="int8-weights",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="auto",
        reason="ONNX Runtime has a package for Android. Weights of 8 bits make a download small; "
        "processors compute in float32 as before. Bitmaps are bytes with their channels last: "
        "drop the alpha.",
    ),
    Preset(
        name="browser",
        formats=("onnx",),
        precision="int8-weights",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="flat",
        reason="ONNX Runtime Web reads ONNX. Every visitor loads the file, so that its weights "
        "have 8 bits; float16 takes a GPU that not every browser has. WebGPU computes the "
        "default form wrong, and flat right. The pixels of a canvas are bytes with their channels "
        "last: drop the alpha.",
    ),
    Preset(
        name="gpu",
        formats=("onnx",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=True,
        lowering="auto",
        reason="CUDA, TensorRT and DirectML run ONNX files through ONNX Runtime, and multiply "
        "float16 in units of their own; what overflows stays float32. An open batch fills the "
        "device, and bytes are a quarter of what floats would carry to it.",
    ),
)


def preset_names() -> tuple[str, ...]:
    """The name of every preset, in the order in which they are listed."""
    return tuple(preset.name for preset in PRESETS)


def preset_named(name: str) -> Preset:
    """A preset by its name, in any spelling.

    Raises:
        InputError: if there is none.
    """
    for preset in PRESETS:
        if preset.name == name.lower():
            return preset
    raise InputError(f"{name} is not a preset: choose one of {', '.join(preset_names())}.")
