"""The accuracy that a quantised file loses, and the operators that returned to float."""

from dataclasses import dataclass

# Tolerance for rounding: a drop of 0.5 points is within a limit of 0.5.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Returned:
    """An operator that returned to float.

    Attributes:
        operator: name of the operator in the file.
        layer: name of the layer in the network; empty if unknown.
        snr_db: signal-to-noise ratio in dB of the outputs if only this operator is quantised.
    """

    operator: str
    layer: str
    snr_db: float


@dataclass(frozen=True)
class Price:
    """The top-1 accuracy that a quantised file loses against the trained network.

    Attributes:
        max_drop: largest allowed drop in percentage points.
        data: path of the images.
        pictures: number of images.
        trained: number of images that the trained network classifies correctly.
        right: number of images that the file classifies correctly.
        quantised: number of quantised operators.
        returned: operators that returned to float to keep the limit, the noisiest first.
        damaged: number of images that could not be read.
    """

    max_drop: float
    data: str
    pictures: int
    trained: int
    right: int
    quantised: int
    returned: tuple[Returned, ...] = ()
    damaged: int = 0

    @property
    def drop(self) -> float:
        """The drop in percentage points; negative if the file is more accurate."""
        return 100 * (self.trained - self.right) / self.pictures

    @property
    def passed(self) -> bool:
        """Whether the drop is within the limit."""
        return self.drop <= self.max_drop + _ROUNDING

    def failure(self, network: str) -> str:
        """Return why the file fails, as a clause."""
        returned = len(self.returned)
        tried = f" with {returned} of {returned + self.quantised} operators in float"
        return (
            f"loses {self.drop:.2f} points of top-1 against {network} on {self.pictures} pictures"
            f"{tried if returned else ''}, more than --max-drop {self.max_drop:g}"
        )

    def lines(self, format: str) -> tuple[str, ...]:
        """Return the lines for the terminal, each a sentence without a full stop."""
        total = self.quantised + len(self.returned)
        lost = "loses" if self.drop >= 0 else "gains"
        unread = f", {self.damaged} more cannot be read" if self.damaged else ""
        first = (
            f"{format}: {lost} {abs(self.drop):.2f} points of top-1 on {self.pictures} pictures "
            f"({self.right} right, the trained network {self.trained}{unread}); "
            f"{self.quantised} of {total} operators are quantised"
        )
        return (
            first,
            *(
                f"{format}: back in float: {each.layer or each.operator} "
                f"(alone it leaves {each.snr_db:.1f} dB)"
                for each in self.returned
            ),
        )
