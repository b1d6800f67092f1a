"""ONNX Runtime on an NVIDIA GPU."""

from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.nvidia import no_gpu
from slide_deploy.backends.onnxruntime.provider import Provider


def options(configuration: Configuration) -> dict[str, str]:
    """Options of the provider; all that change what is computed or how kernels are chosen."""
    return {
        "device_id": "0",
        # Tries every algorithm of cuDNN in the first call, and keeps the fastest.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        # TF32 keeps 10 bits of each float32 factor: that is not the precision that was asked for.
        "use_tf32": "0" if configuration.precision == "float32" else "1",
        # Replayed graphs would hide what each launch costs.
        "enable_cuda_graph": "0",
    }


PROVIDER = Provider(
    "cuda",
    "CUDAExecutionProvider",
    package="onnxruntime-gpu",
    options=options,
    option_names=(
        *("arena_extend_strategy", "cudnn_conv1d_pad_to_nc1d", "cudnn_conv_algo_search"),
        *("cudnn_conv_use_max_workspace", "device_id", "do_copy_in_default_stream"),
        *("enable_skip_layer_norm_strict_mode", "gpu_mem_limit", "prefer_nhwc"),
        *("sdpa_kernel", "use_ep_level_unified_stream", "use_tf32"),
    ),
    device="cuda",
    platforms=("linux", "win32"),
    hardware=no_gpu,
    # Its operators are launched, not awaited: the profile would tell the time of the launches.
    profiled=False,
)
