"""The execution providers of ONNX Runtime that have a target, and the options of each.

Options that change what is computed, or how kernels are chosen, are always set explicitly. The
options in a configuration override them.
"""

import ctypes
import json
import sys

from slide_deploy.backends.base import Configuration
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.openvino.properties import properties_of


def no_nvidia_gpu() -> str | None:
    """Return why no NVIDIA GPU can be used and how to fix it, or None if there is one.

    The driver is asked directly. ONNX Runtime cannot tell: a build with CUDA lists its CUDA
    provider on any machine.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver here ({library}): install it from nvidia.com/drivers"
    count = ctypes.c_int(0)
    # Both functions return 0 for success, as every function of the driver does.
    if (
        driver.cuInit(0) != 0
        or driver.cuDeviceGetCount(ctypes.byref(count)) != 0
        or not count.value
    ):
        return "the NVIDIA driver finds no GPU: run nvidia-smi to see why"
    return None


def _cuda_options(configuration: Configuration) -> dict[str, str]:
    return {
        "device_id": "0",
        # Tries every cuDNN algorithm in the first call and keeps the fastest.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        # TF32 keeps 10 bits of each float32 factor, which is not the precision that was requested.
        "use_tf32": "0" if configuration.precision == "float32" else "1",
        # A CUDA graph would hide the cost of each launch.
        "enable_cuda_graph": "0",
    }


def _tensorrt_options(configuration: Configuration) -> dict[str, str]:
    precision = configuration.precision
    chosen = {
        "device_id": "0",
        "trt_fp16_enable": "1" if precision == "float16" else "0",
        # An engine or a timing cached by an earlier run would shorten the cold start.
        "trt_engine_cache_enable": "0",
        "trt_timing_cache_enable": "0",
        "trt_cuda_graph_enable": "0",
    }
    if precision == "bfloat16":  # set only if needed, because older releases reject the option
        chosen["trt_bf16_enable"] = "1"
    return chosen


def _tensorrt_helpers(configuration: Configuration) -> list[tuple[str, dict[str, str]]]:
    device = configuration.options.get("device_id", "0")
    return [(CUDA.library_name, _cuda_options(configuration) | {"device_id": device})]


def _coreml_options(configuration: Configuration) -> dict[str, str]:
    return {
        # Keeps float32 as float32. The default is the older format, which may compute in float16.
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",
        "RequireStaticInputShapes": "0",
        "EnableOnSubgraphs": "0",
    }


def _openvino_options(configuration: Configuration) -> dict[str, str]:
    """Set OpenVINO's own properties through ``load_config``, as JSON with one entry per device.

    The older options (``num_of_threads``, ``num_streams``, ``precision``) are deprecated. The
    device is the CPU unless ``device_type`` names another one.
    """
    device = configuration.options.get("device_type", "CPU")
    kind = device.split(".")[0].split(":")[0]
    return {
        "device_type": device,
        "load_config": json.dumps({kind: properties_of(kind, configuration)}),
    }


# ONNX Runtime's own kernels on the CPU. Threads are a setting of the session, so it has no options.
CPU = Provider("cpu", "CPUExecutionProvider")

CUDA = Provider(
    "cuda",
    "CUDAExecutionProvider",
    package="onnxruntime-gpu",
    options=_cuda_options,
    option_names=(
        *("arena_extend_strategy", "cudnn_conv1d_pad_to_nc1d", "cudnn_conv_algo_search"),
        *("cudnn_conv_use_max_workspace", "device_id", "do_copy_in_default_stream"),
        *("enable_skip_layer_norm_strict_mode", "gpu_mem_limit", "prefer_nhwc"),
        *("sdpa_kernel", "use_ep_level_unified_stream", "use_tf32"),
    ),
    device="cuda",
    platforms=("linux", "win32"),
    hardware=no_nvidia_gpu,
    # Operators are launched asynchronously, so a profile would show the time of the launches.
    profiled=False,
)

# Engines built by TensorRT. CUDA runs the nodes that TensorRT does not take.
TENSORRT = Provider(
    "tensorrt",
    "TensorrtExecutionProvider",
    package="onnxruntime-gpu tensorrt",
    options=_tensorrt_options,
    option_names=(
        *("device_id", "trt_auxiliary_streams", "trt_bf16_enable", "trt_build_heuristics_enable"),
        *("trt_builder_optimization_level", "trt_context_memory_sharing_enable"),
        *("trt_cuda_graph_enable", "trt_engine_cache_enable", "trt_engine_cache_path"),
        *("trt_force_sequential_engine_build", "trt_fp16_enable", "trt_int8_enable"),
        *("trt_layer_norm_fp32_fallback", "trt_max_partition_iterations"),
        *("trt_max_workspace_size", "trt_min_subgraph_size", "trt_profile_max_shapes"),
        *("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_sparsity_enable"),
        *("trt_tactic_sources", "trt_timing_cache_enable", "trt_timing_cache_path"),
    ),
    precisions=("float32", "float16", "bfloat16", "default"),
    device="cuda",
    platforms=("linux", "win32"),
    helpers=_tensorrt_helpers,
    hardware=no_nvidia_gpu,
    profiled=False,  # an engine is one node, and it is launched asynchronously
)

COREML = Provider(
    "coreml",
    "CoreMLExecutionProvider",
    options=_coreml_options,
    option_names=(
        *("AllowLowPrecisionAccumulationOnGPU", "EnableOnSubgraphs", "MLComputeUnits"),
        *("ModelCacheDirectory", "ModelFormat", "RequireStaticInputShapes"),
        "SpecializationStrategy",
    ),
    platforms=("darwin",),
)

# Any GPU with DirectX 12.
DIRECTML = Provider(
    "directml",
    "DmlExecutionProvider",
    package="onnxruntime-directml",
    options=lambda _: {"device_id": "0"},
    option_names=(
        *("device_filter", "device_id", "disable_metacommands", "enable_graph_capture"),
        "performance_preference",
    ),
    device="dml",
    platforms=("win32",),
    # Its documentation rules out memory patterns and concurrent calls of one session.
    memory_pattern=False,
    concurrent=False,
    profiled=False,  # launched asynchronously
)

OPENVINO = Provider(
    "openvino",
    "OpenVINOExecutionProvider",
    package="onnxruntime-openvino",
    options=_openvino_options,
    option_names=("cache_dir", "device_type", "disable_dynamic_shapes", "load_config"),
    precisions=("float32", "float16", "bfloat16", "default"),
    platforms=("linux", "win32"),
    # Its documentation says that OpenVINO optimises an unoptimised graph better.
    optimise=False,
)

PROVIDERS = (CPU, CUDA, TENSORRT, COREML, DIRECTML, OPENVINO)
