"""Int8 ONNX files made with NNCF, as a baseline for ONNX Runtime's own quantiser.

A quantiser module with the interface of ``exporters.quantisation.onnx_file``; only int8 is raced.
"""

import logging
from pathlib import Path

from exporters.quantisation.plan import QuantisationPlan


def quantise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a file with 8-bit weights and activations.

    Args:
        source: path of the float32 file.
        target: path of the file to write.
        plan: the operators to quantise.
    """
    import nncf
    import onnx

    nncf.set_log_level(logging.ERROR)
    quantised = nncf.quantize(
        onnx.load(source),
        nncf.Dataset(plan.examples),
        subset_size=len(plan.examples),
        ignored_scope=nncf.IgnoredScope(names=list(plan.others), validate=False),
    )
    onnx.save(quantised, target)
