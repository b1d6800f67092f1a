"""Eight bits in ONNX by NNCF, to be raced against ONNX Runtime's own quantiser.

A module with the functions of ``exporters.quantisation.onnx_file`` as far as it is raced.
"""

import logging
from pathlib import Path

from exporters.quantisation.plan import QuantisationPlan


def quantise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a file whose weights and activations have 8 bits.

    Args:
        source: the file in float32.
        target: the file to write.
        plan: what to quantise.
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
