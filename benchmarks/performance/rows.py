"""The ratios that are asked for, each from two candidates of one run."""

from dataclasses import dataclass
from enum import StrEnum

ONNX_RUNTIME, OPENVINO = "onnxruntime:cpu", "openvino:cpu"
RUNTIMES = {ONNX_RUNTIME: "ONNX Runtime", OPENVINO: "OpenVINO"}

# Small and base may stay behind tiny by a tenth.
_LARGER = 0.9


class Kind(StrEnum):
    """What is compared."""

    time = "time"
    memory = "memory of activations"


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        suite: stem of the suite in `benchmarks/peers/` and of its result file.
        subject: what it measures, for people.
        target: on which.
        peer: the candidate that ours is compared with.
        least: the ratio that is asked for.
        aim: the ratio that is wished for.
        ours_on_top: whether the ratio is ours to the peer, and small is good.
        is_network: whether it is a whole network; most of its work are matrix products.
        kind: what is compared.
    """

    suite: str
    subject: str
    target: str
    peer: str
    least: float
    aim: float
    ours_on_top: bool = False
    is_network: bool = False
    kind: Kind = Kind.time

    @property
    def ratio(self) -> str:
        """The ratio in words."""
        pair = ("ours", self.peer) if self.ours_on_top else (self.peer, "ours")
        words = " / ".join(pair)
        return words if self.kind is Kind.time else f"{self.kind}, {words}"

    def reached(self, value: float, wanted: float) -> bool:
        """Whether a ratio is at least as good as another one."""
        return value <= wanted if self.ours_on_top else value >= wanted


def _network(suite: str, subject: str, share: float) -> list[Row]:
    def row(target: str, peer: str, least: float, aim: float) -> Row:
        return Row(suite, subject, target, peer, least * share, aim * share, is_network=True)

    def products(target: str) -> Row:
        least, aim = 1.35 / share, 1.15 / share
        return Row(
            suite, subject, target, "products", least, aim, ours_on_top=True, is_network=True
        )

    return [
        row(ONNX_RUNTIME, "branched", 1.35, 1.6),
        row(OPENVINO, "branched", 2.2, 2.8),
        row(ONNX_RUNTIME, "swin", 0.95, 1.05),
        row(OPENVINO, "swin", 0.95, 1.05),
        products(ONNX_RUNTIME),
        products(OPENVINO),
    ]


def _attention(channels: int, share: float) -> list[Row]:
    def row(
        side: int, target: str, peer: str, least: float, aim: float, kind: Kind = Kind.time
    ) -> Row:
        size = f"{channels}x{side}x{side}"
        subject = f"one attention, C {channels}, {side}x{side}"
        suite = f"attention_{size}"
        return Row(suite, subject, target, peer, least * share, aim * share, kind=kind)

    return [
        row(56, ONNX_RUNTIME, "unfold", 5, 7),
        row(56, OPENVINO, "unfold", 2.5, 4),
        row(200, ONNX_RUNTIME, "branched", 2, 3),
        row(200, OPENVINO, "branched", 4.5, 6),
        row(200, ONNX_RUNTIME, "branched", 5, 8, Kind.memory),
    ]


ROWS: tuple[Row, ...] = (
    *_network("slide_swin_tiny", "Slide-Swin-T, 224", 1),
    *_attention(96, 1),  # of tiny and small
    *_network("slide_swin_small", "Slide-Swin-S, 224", _LARGER),
    *_network("slide_swin_base", "Slide-Swin-B, 224", _LARGER),
    *_attention(128, _LARGER),  # of base
)
SUITES: tuple[str, ...] = tuple(dict.fromkeys(row.suite for row in ROWS))
