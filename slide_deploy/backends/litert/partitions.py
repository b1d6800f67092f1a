"""What a delegate took of a network: how many pieces, and which operators it left."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Partitions:
    """How a network is divided.

    Attributes:
        delegated: pieces that a delegate runs.
        left: operators that LiteRT runs itself, with their number.
    """

    delegated: int
    left: Mapping[str, int]

    def facts(self) -> dict[str, str]:
        """The same as texts."""
        left = ", ".join(f"{name} {count}" for name, count in sorted(self.left.items()))
        return {"partitions": str(self.delegated), "not delegated": left or "none"}


def partitions(interpreter: Any) -> Partitions:
    """How an interpreter divides its network.

    Its list of operators keeps those that a delegate took over. What runs is found from the outputs
    backwards: a value that a delegate gives is given by nothing else.
    """
    operators = interpreter._get_ops_details()
    givers: dict[int, Any] = {}
    for operator in sorted(operators, key=lambda each: each["op_name"] == _DELEGATE):
        givers |= {int(place): operator for place in operator["outputs"]}
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    running: dict[int, str] = {}
    while waiting:
        operator = givers.get(waiting.pop())
        if operator is not None and operator["index"] not in running:
            running[operator["index"]] = operator["op_name"]
            waiting.extend(int(place) for place in operator["inputs"] if place >= 0)
    counts = Counter(running.values())
    return Partitions(counts.pop(_DELEGATE, 0), counts)
