"""The lowering of an attention: its form and its number of strips."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.lowerings.depthwise import Depthwise
from slide_deploy.lowerings.flat import Flat
from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.running_mean import RunningMean
from slide_deploy.models.slide_attention import FoldedSlideAttention

FORMS: dict[str, type[Form]] = {
    "depthwise": Depthwise,
    "running-mean": RunningMean,
    "flat": Flat,
}


@dataclass(frozen=True, order=True)
class Lowering:
    """A form and a number of strips, written FORM or FORM/STRIPS.

    Attributes:
        form: a key of ``FORMS``.
        strips: number of strips of rows, which are computed one after the other.
        source: the reason for the choice, one clause; empty if the user chose it.

    Raises:
        InputError: the form is unknown, or ``strips`` is below 1.
    """

    form: str
    strips: int = 1
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            known = ", ".join(FORMS)
            raise InputError(f"{self.form} is not a lowering: choose one of {known}.")
        if self.strips < 1:
            raise InputError(f"{self} has no strips: give 1 or more.")

    def __str__(self) -> str:
        return self.form if self.strips == 1 else f"{self.form}/{self.strips}"

    @classmethod
    def parse(cls, text: str) -> "Lowering":
        """Parse "flat" or "flat/4".

        Raises:
            InputError: the text is not FORM or FORM/STRIPS.
        """
        match = re.fullmatch(r"([^/]+)(?:/(\d{1,4}))?", text)
        if match is None:
            raise InputError(
                f"{text!r} is not a lowering: give FORM or FORM/STRIPS, for example flat/4."
            )
        return cls(match[1], int(match[2] or 1))


# Returns the lowering of an attention.
Chooser = Callable[[FoldedSlideAttention], Lowering]
# Returns the chooser for a file from its format and its precision.
FileChooser = Callable[[str, str], Chooser]

# The canonical form. It can write every attention.
DEFAULT_LOWERING = Lowering("depthwise")


def for_file(lowering: Lowering | FileChooser, format: str, precision: str) -> Lowering | Chooser:
    """Return the lowering of one file's attentions, or the function that chooses each."""
    return lowering if isinstance(lowering, Lowering) else lowering(format, precision)


def chosen(folded: nn.Module, lowering: Lowering | Chooser) -> dict[str, Lowering]:
    """Return the lowering of each slide attention of a folded model, by module name."""
    return {
        name: lowering if isinstance(lowering, Lowering) else lowering(module)
        for name, module in folded.named_modules()
        if isinstance(module, FoldedSlideAttention)
    }
