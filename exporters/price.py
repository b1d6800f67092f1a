"""What a quantised file costs: how much less often it is right, and what was done about it."""

from dataclasses import dataclass

# Rounding must not decide: 0.5 of 0.5 points are within the limit.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Returned:
    """An operator that returned to float.

    Attributes:
        operator: its name in the file.
        layer: of the network, as its weights are called; empty where nobody knows.
        snr_db: signal-to-noise ratio of the answers where it alone is quantised.
    """

    operator: str
    layer: str
    snr_db: float


@dataclass(frozen=True)
class Price:
    """What a quantised file loses of the network's top-1.

    Attributes:
        max_drop: percentage points that it may lose.
        data: where the pictures are.
        pictures: how many both were asked for.
        trained: how many the trained network names rightly.
        right: how many the file names rightly.
        quantised: how many operators are quantised.
        returned: operators that returned to float so that the limit is kept, the worst first.
        damaged: how many pictures could not be read.
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
        """Percentage points that the file loses; negative where it is right more often."""
        return 100 * (self.trained - self.right) / self.pictures

    @property
    def passed(self) -> bool:
        """Whether it loses no more than it may."""
        return self.drop <= self.max_drop + _ROUNDING

    def failure(self, network: str) -> str:
        """Why it fails, a clause.

        Args:
            network: what it was made of.
        """
        returned = len(self.returned)
        tried = f" with {returned} of {returned + self.quantised} operators in float"
        return (
            f"loses {self.drop:.2f} points of top-1 against {network} on {self.pictures} pictures"
            f"{tried if returned else ''}, more than --max-drop {self.max_drop:g}"
        )

    def lines(self, format: str) -> tuple[str, ...]:
        """What people read of it, a sentence a line without a full stop.

        Args:
            format: of the file.
        """
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
