"""What a pass did, as plain data for certificates, manifests and ``--explain``."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One place that a pass changed.

    Attributes:
        layer: layer of the network, with its class.
        what: a clause such as "3 convolutions became one".
        error: largest difference to the original operators in float64, relative to the largest
            value where that exceeds 1; None if the pass changes no arithmetic.
        rounding: the same, after the new weights are rounded to the network's own type.
        parts: names of the merged layers, in the order of the program.
    """

    layer: str
    what: str
    error: float | None = None
    rounding: float | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """One place that a pass examined and left unchanged.

    Attributes:
        layer: layer of the network, with its class.
        why: the reason, as a clause.
    """

    layer: str
    why: str


@dataclass
class PassReport:
    """What a pass did to one program.

    Attributes:
        name: module name of the pass.
        changes: in the order in which they were made.
        refusals: in the order in which they were found.
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
        """Record a change; see ``Change``."""
        self.changes.append(Change(layer, what, error, rounding, parts))

    def refuse(self, layer: str, why: str) -> None:
        """Record a refusal; see ``Refusal``."""
        self.refusals.append(Refusal(layer, why))
