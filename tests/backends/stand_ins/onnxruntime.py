"""ONNX Runtime with providers that this machine lacks; the processor computes in their place.

It is called through the documented interface only: an unknown provider, option, keyword or device
is a `Misuse`.
"""

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime as real

from tests.backends.stand_ins.misuse import require

# Options by provider, as onnxruntime.ai/docs/execution-providers lists them.
OPTIONS = {
    "CUDAExecutionProvider": {
        "device_id",
        "gpu_mem_limit",
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "do_copy_in_default_stream",
        "cudnn_conv_use_max_workspace",
        "cudnn_conv1d_pad_to_nc1d",
        "enable_cuda_graph",
        "enable_skip_layer_norm_strict_mode",
        "use_tf32",
        "prefer_nhwc",
        "use_ep_level_unified_stream",
        "sdpa_kernel",
    },
    "TensorrtExecutionProvider": {
        "device_id",
        "trt_max_workspace_size",
        "trt_max_partition_iterations",
        "trt_min_subgraph_size",
        "trt_fp16_enable",
        "trt_bf16_enable",
        "trt_int8_enable",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_timing_cache_enable",
        "trt_cuda_graph_enable",
        "trt_builder_optimization_level",
    },
    "CoreMLExecutionProvider": {
        "ModelFormat",
        "MLComputeUnits",
        "RequireStaticInputShapes",
        "EnableOnSubgraphs",
        "SpecializationStrategy",
        "ProfileComputePlan",
        "AllowLowPrecisionAccumulationOnGPU",
        "ModelCacheDirectory",
    },
    "DmlExecutionProvider": {
        "device_id",
        "performance_preference",
        "device_filter",
        "disable_metacommands",
        "enable_graph_capture",
    },
    "OpenVINOExecutionProvider": {
        "device_type",
        "load_config",
        "cache_dir",
        "disable_dynamic_shapes",
    },
    "CPUExecutionProvider": set(),
}
DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}


@dataclass
class Behaviour:
    """How the runtime behaves, and what it was asked.

    Attributes:
        starts: whether the provider's libraries load.
        takes: whether the provider takes any node.
        tells: whether this release knows which provider runs which node.
        options: of each provider, as they were given.
        session_options: of the last session.
        pending: calls whose outputs nobody waited for.
    """

    starts: bool = True
    takes: bool = True
    tells: bool = True
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    session_options: Any = None
    pending: int = 0


def module(behaviour: Behaviour) -> ModuleType:
    """A stand-in for the library."""

    @dataclass
    class OrtValue:
        inner: Any
        device: str

        @staticmethod
        def ortvalue_from_numpy(numpy_obj, /, device_type="cpu", device_id=0):
            require(isinstance(device_id, int), "device_id is a number")
            return OrtValue(real.OrtValue.ortvalue_from_numpy(numpy_obj), device_type)

        @staticmethod
        def ortvalue_from_shape_and_type(shape, element_type, device_type="cpu", device_id=0):
            inner = real.OrtValue.ortvalue_from_shape_and_type(shape, element_type)
            return OrtValue(inner, device_type)

    class Binding:
        def __init__(self, session):
            self.session = session
            self.inner = session.inner.io_binding()

        def bind_ortvalue_input(self, name, ortvalue):
            require(ortvalue.device == self.session.device, "an input of another device")
            self.inner.bind_ortvalue_input(name, ortvalue.inner)

        def bind_ortvalue_output(self, name, ortvalue):
            require(ortvalue.device == self.session.device, "an output of another device")
            self.inner.bind_ortvalue_output(name, ortvalue.inner)

        def bind_output(self, name, device_type="cpu", device_id=0):
            require(device_type == self.session.device, "an output of another device")
            require(isinstance(device_id, int), "device_id is a number")
            self.inner.bind_output(name)

        def synchronize_inputs(self):
            self.inner.synchronize_inputs()

        def synchronize_outputs(self):
            behaviour.pending = 0
            self.inner.synchronize_outputs()

        def copy_outputs_to_cpu(self):
            return self.inner.copy_outputs_to_cpu()

    class InferenceSession:
        def __init__(self, path_or_bytes, sess_options=None, providers=None, **kwargs):
            require(kwargs == {"enable_fallback": 0}, f"unknown keywords in {kwargs}")
            for name, options in providers:
                require(name in OPTIONS, f"no provider {name}")
                require(set(options) <= OPTIONS[name], f"{name} lacks one of {set(options)}")
                texts = all(isinstance(value, str) for value in options.values())
                require(texts, "options are texts")
            behaviour.options = dict(providers)
            behaviour.session_options = sess_options
            self.provider = providers[0][0]
            if self.provider == "DmlExecutionProvider":
                sequential = sess_options.execution_mode == real.ExecutionMode.ORT_SEQUENTIAL
                require(sequential, "DirectML is sequential")
                require(not sess_options.enable_mem_pattern, "DirectML has no memory pattern")
            self.device = DEVICES.get(self.provider, "cpu")
            names = [name for name, _ in providers]
            self.active = names if behaviour.starts else names[1:]
            self.inner = real.InferenceSession(
                path_or_bytes, sess_options, ["CPUExecutionProvider"], enable_fallback=0
            )
            if behaviour.tells:
                self.get_provider_graph_assignment_info = self._assignment

        def _assignment(self):
            name = self.provider if behaviour.takes else "CPUExecutionProvider"
            return [SimpleNamespace(ep_name=name, get_nodes=lambda: [object(), object()])]

        def get_providers(self):
            return self.active

        def get_provider_options(self):
            return behaviour.options

        def io_binding(self):
            return Binding(self)

        def run_with_iobinding(self, iobinding):
            self.inner.run_with_iobinding(iobinding.inner)
            behaviour.pending += self.device != "cpu"

        def disable_fallback(self):
            self.inner.disable_fallback()

        def get_inputs(self):
            return self.inner.get_inputs()

        def get_outputs(self):
            return self.inner.get_outputs()

        def get_modelmeta(self):
            return self.inner.get_modelmeta()

        def end_profiling(self):
            return self.inner.end_profiling()

    stand_in = ModuleType("onnxruntime")
    stand_in.__spec__ = real.__spec__
    stand_in.__version__ = "0.stand-in"
    for name in ("SessionOptions", "GraphOptimizationLevel", "ExecutionMode"):
        setattr(stand_in, name, getattr(real, name))
    stand_in.get_available_providers = lambda: list(OPTIONS)
    stand_in.OrtValue = OrtValue
    stand_in.InferenceSession = InferenceSession
    return stand_in


def driver(gpus: int) -> ModuleType:
    """A stand-in for ctypes with an NVIDIA driver that finds some GPUs."""
    import ctypes

    def count(reference):
        reference._obj.value = gpus
        return 0

    stand_in = ModuleType("ctypes")
    stand_in.c_int, stand_in.byref = ctypes.c_int, ctypes.byref
    stand_in.CDLL = lambda name: SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=count)
    return stand_in
