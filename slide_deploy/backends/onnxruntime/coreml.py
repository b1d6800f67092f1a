"""ONNX Runtime with subgraphs that Core ML runs, on macOS."""

from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.onnxruntime.provider import Provider


def options(configuration: Configuration) -> dict[str, str]:
    """Options of the provider."""
    return {
        # Keeps float32 as float32. The older format, which is the default, may compute in float16.
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",
        "RequireStaticInputShapes": "0",
        "EnableOnSubgraphs": "0",
    }


PROVIDER = Provider(
    "coreml",
    "CoreMLExecutionProvider",
    options=options,
    option_names=(
        *("AllowLowPrecisionAccumulationOnGPU", "EnableOnSubgraphs", "MLComputeUnits"),
        *("ModelCacheDirectory", "ModelFormat", "RequireStaticInputShapes"),
        "SpecializationStrategy",
    ),
    platforms=("darwin",),
)
