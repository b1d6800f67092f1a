"""ONNX Runtime with engines that TensorRT builds; CUDA takes what TensorRT leaves."""

from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.nvidia import no_gpu
from slide_deploy.backends.onnxruntime import cuda
from slide_deploy.backends.onnxruntime.provider import Provider


def options(configuration: Configuration) -> dict[str, str]:
    """Options of the provider."""
    precision = configuration.precision
    chosen = {
        "device_id": "0",
        "trt_fp16_enable": "1" if precision == "float16" else "0",
        # A cached engine or timing would make the cold start somebody else's.
        "trt_engine_cache_enable": "0",
        "trt_timing_cache_enable": "0",
        "trt_cuda_graph_enable": "0",
    }
    if precision == "bfloat16":  # named only where it is needed: older releases do not know it
        chosen["trt_bf16_enable"] = "1"
    return chosen


def _helpers(configuration: Configuration) -> list[tuple[str, dict[str, str]]]:
    device = configuration.options.get("device_id", "0")
    return [(cuda.PROVIDER.library_name, cuda.options(configuration) | {"device_id": device})]


PROVIDER = Provider(
    "tensorrt",
    "TensorrtExecutionProvider",
    package="onnxruntime-gpu tensorrt",
    options=options,
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
    helpers=_helpers,
    hardware=no_gpu,
    profiled=False,  # one node an engine, and launched, not awaited
)
