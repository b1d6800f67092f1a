"""What a pass did: plain data for certificates, manifests and ``--explain``."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One place that a pass changed.

    Attributes:
        layer: of the network.
        what: a clause, as "3 convolutions became one".
        error: largest difference that it makes in float64, over the largest value where that
            exceeds 1; None where nothing is computed otherwise than before.
        rounding: the same once the new weights are rounded to the network's own type.
        parts: names of what was put together, in the order of the program.
    """

    layer: str
    what: str
    error: float | None = None
    rounding: float | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """One place that a pass looked at and left.

    Attributes:
        layer: of the network.
        why: a clause with the reason.
    """

    layer: str
    why: str


@dataclass
class PassReport:
    """What a pass did to one program.

    Attributes:
        name: of the pass.
        changes: in the order in which they were made.
        refusals: the same.
    """

    name: str
    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def change(
        self,
        layer: str,
        what: str,
        error: float | None = None,
        rounding: float | None = None,
        parts: tuple[str, ...] = (),
    ) -> None:
        """Note a change; see ``Change``."""
        self.changes.append(Change(layer, what, error, rounding, parts))

    def refuse(self, layer: str, why: str) -> None:
        """Note a refusal; see ``Refusal``."""
        self.refusals.append(Refusal(layer, why))
