"""What the files of an export are held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporters.quantisation.calibration import Calibration
from exporters.quantisation.judge import Judge
from slide_deploy.cases import Case
from slide_deploy.reference import Reference
from slide_deploy.runtimes import Session


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


@dataclass(frozen=True)
class Interface:
    """What a written file calls its inputs and outputs.

    Attributes:
        inputs: in the order of the file.
        outputs: the same.
        metadata: what the file says of itself, by key.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def interface_of(session: Session) -> Interface:
    """The interface of an opened file."""
    names = tuple(port.name for port in session.inputs)
    return Interface(names, session.outputs, dict(session.metadata))
