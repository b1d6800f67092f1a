"""Presets of export options, one record for each kind of machine.

Options that the user gives override those of the preset. ``docs/preprocessing.md`` has the table.
"""

from dataclasses import dataclass

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Preset:
    """Export options for one kind of machine.

    Attributes:
        name: the name that users give.
        formats: names of the formats to write.
        precision: precision of the files.
        embed_preprocessing: whether files take pixels from 0 to 255 and normalise them.
        input_layout: layout of these pixels, "nhwc" or "nchw". Images in memory usually have their
            channels last. Core ML ignores this option: its files take an image type of the system.
        dynamic_batch: whether the batch size stays open.
        lowering: form of the slide attentions; "auto" selects the form that was measured fastest.
        reason: why these options were chosen; whole sentences.
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
        "both. A fixed batch of one has the lowest latency.",
    ),
    Preset(
        name="intel",
        formats=("openvino",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="auto",
        reason="Float16 weights halve the file. CPUs compute in float32 at the same speed, and "
        "Intel's GPUs compute in float16.",
    ),
    Preset(
        name="apple",
        formats=("coreml",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nchw",
        dynamic_batch=False,
        lowering="auto",
        reason="The Neural Engine computes in float16 only. Apple's Vision framework passes one "
        "image at a time.",
    ),
    Preset(
        name="android",
        formats=("onnx",),
        precision="int8-weights",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="auto",
        reason="ONNX Runtime has a package for Android. 8-bit weights make the download small, and "
        "CPUs still compute in float32. Bitmaps are bytes with their channels last; drop the alpha "
        "channel.",
    ),
    Preset(
        name="browser",
        formats=("onnx",),
        precision="int8-weights",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=False,
        lowering="flat",
        reason="ONNX Runtime Web reads ONNX. Every visitor downloads the file, so its weights have "
        "8 bits. Float16 needs a GPU, which not every browser can use. WebGPU computes the default "
        "form incorrectly and the flat form correctly. The pixels of a canvas are bytes with their "
        "channels last; drop the alpha channel.",
    ),
    Preset(
        name="gpu",
        formats=("onnx",),
        precision="float16",
        embed_preprocessing=True,
        input_layout="nhwc",
        dynamic_batch=True,
        lowering="auto",
        reason="CUDA, TensorRT and DirectML run ONNX files through ONNX Runtime and have dedicated "
        "hardware for float16. Operators that would overflow stay in float32. An open batch can "
        "fill the device, and copying bytes to it takes a quarter of the bandwidth of floats.",
    ),
)


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, in the order of ``PRESETS``."""
    return tuple(preset.name for preset in PRESETS)


def preset_named(name: str) -> Preset:
    """Return a preset by its name; case does not matter.

    Raises:
        InputError: if no preset has this name.
    """
    for preset in PRESETS:
        if preset.name == name.lower():
            return preset
    raise InputError(f"{name} is not a preset: choose one of {', '.join(preset_names())}.")
