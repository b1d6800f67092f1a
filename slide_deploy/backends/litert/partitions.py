"""How many parts of a network a delegate runs, and which operators it does not run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Partitions:
    """How a network is divided between delegates and LiteRT.

    Attributes:
        delegated: number of parts that a delegate runs.
        left: kinds of operators that LiteRT runs itself, with the number of each.
    """

    delegated: int
    left: Mapping[str, int]

    def facts(self) -> dict[str, str]:
        """Return the facts to record."""
        left = ", ".join(f"{name} {count}" for name, count in sorted(self.left.items()))
        return {"partitions": str(self.delegated), "not delegated": left or "none"}


def partitions(interpreter: Any) -> Partitions:
    """Return how an interpreter divides its network.

    The interpreter's list of operators still contains those that a delegate replaces. The operators
    that run are found backwards from the outputs: if a delegate computes a value, then the operator
    that it replaces does not run.
    """
    operators = interpreter._get_ops_details()
    producers: dict[int, Any] = {}
    for operator in sorted(operators, key=lambda each: each["op_name"] == _DELEGATE):
        producers |= {int(place): operator for place in operator["outputs"]}
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    running: dict[int, str] = {}
    while waiting:
        operator = producers.get(waiting.pop())
        if operator is not None and operator["index"] not in running:
            running[operator["index"]] = operator["op_name"]
            waiting.extend(int(place) for place in operator["inputs"] if place >= 0)
    counts = Counter(running.values())
    return Partitions(counts.pop(_DELEGATE, 0), counts)
