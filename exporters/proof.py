"""What the files of an export are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporters.quantisation.calibration import Calibration
from exporters.quantisation.judge import Judge
from slide_deploy.cases import Case
from slide_deploy.reference import Reference


@dataclass(frozen=True)
class Proof:
    """What every file of an export must agree with.

    Attributes:
        cases: inputs to verify with.
        reference: the true answers to them.
        calibration: for precisions that measure ranges.
        judge: says how often a file is right; None where nobody asked.
        shown: inputs whose values float16 must hold: the cases, and examples where there are some.
    """

    cases: Sequence[Case]
    reference: Reference
    calibration: Calibration | None = None
    judge: Judge | None = None
    shown: Sequence[Case] = ()
