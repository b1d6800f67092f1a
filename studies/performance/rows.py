"""The required ratios, each of two candidates of one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

ONNX_RUNTIME, OPENVINO = "onnxruntime:cpu", "openvino:cpu"
LITERT, EXECUTORCH = "litert:cpu", "executorch:xnnpack"
RUNTIMES = {ONNX_RUNTIME: "ONNX Runtime", OPENVINO: "OpenVINO"}
NAMES = {**RUNTIMES, LITERT: "LiteRT", EXECUTORCH: "ExecuTorch"}

# Required ratio and aim; None for a ratio that is only shown.
Wanted = tuple[float | None, float | None]
SHOWN: Wanted = (None, None)

# The ratios of the small and base sizes may be 10 % lower than those of tiny.
_LARGER = 0.9


class RatioKind(StrEnum):
    """The compared quantity."""

    time = "time"
    memory = "memory of activations"
    size = "size of the file"


@dataclass(frozen=True)
class RatioRow:
    """One ratio.

    Attributes:
        suite: Stem of the suite in `benchmarks/baselines/` and of its result file.
        subject: What is measured, in words.
        target: Target of our candidate.
        baseline: Name of the baseline candidate.
        least: Required ratio; None for a ratio that is only shown.
        aim: Ratio to aim for; None for a ratio that is only shown.
        ours_on_top: Whether the ratio is ours / baseline, so that small is good.
        is_network: Whether it is a whole network, most of whose work is matmuls.
        kind: The compared quantity.
        ours: Name of our candidate.
        baseline_target: Target of the baseline; empty for the same target.
    """

    suite: str
    subject: str
    target: str
    baseline: str
    least: float | None
    aim: float | None
    ours_on_top: bool = False
    is_network: bool = False
    kind: RatioKind = RatioKind.time
    ours: str = "ours"
    baseline_target: str = ""

    @property
    def ratio(self) -> str:
        """The ratio in words."""
        if self.baseline_target:
            return f"{NAMES[self.target]} / {NAMES[self.baseline_target]}"
        pair = (self.ours, self.baseline) if self.ours_on_top else (self.baseline, self.ours)
        words = " / ".join(pair)
        return words if self.kind is RatioKind.time else f"{self.kind}, {words}"

    def reached(self, value: float, wanted: float) -> bool:
        """Return whether a ratio is at least as good as the wanted one."""
        return value <= wanted if self.ours_on_top else value >= wanted


def _whole(
    suite: str, subject: str, baseline: str, wanted: Mapping[str, Wanted], ours_on_top: bool = False
) -> list[RatioRow]:
    """Return one ratio of a whole network for each runtime."""
    return [
        RatioRow(suite, subject, target, baseline, least, aim, ours_on_top, is_network=True)
        for target, (least, aim) in wanted.items()
    ]


def _swin(suite: str, subject: str, share: float) -> list[RatioRow]:
    """Return the rows of a Slide-Swin, with required ratios as a share of those of tiny."""
    swin, matmuls = (0.95 * share, 1.05 * share), (1.35 / share, 1.15 / share)
    branched = {
        ONNX_RUNTIME: (1.35 * share, 1.6 * share),
        OPENVINO: (2.2 * share, 2.8 * share),
    }
    return [
        *_whole(suite, subject, "branched", branched),
        *_whole(suite, subject, "swin", dict.fromkeys(RUNTIMES, swin)),
        *_whole(suite, subject, "matmuls", dict.fromkeys(RUNTIMES, matmuls), ours_on_top=True),
    ]


def _equal(suite: str, subject: str, baseline: str, wanted: Mapping[str, Wanted]) -> list[RatioRow]:
    """Return ratios to a network of equal published accuracy, as others and as we export it."""
    return [
        *_whole(suite, subject, baseline, wanted),
        *_whole(suite, subject, f"{baseline}, ours", dict.fromkeys(wanted, SHOWN)),
    ]


def _other_host(suite: str, subject: str) -> list[RatioRow]:
    """Return the rows of a slide version of a host other than Swin."""
    return [
        *_whole(suite, subject, "branched", dict.fromkeys(RUNTIMES, (1.3, 1.6))),
        *_whole(suite, subject, "matmuls", dict.fromkeys(RUNTIMES, (1.5, 1.25)), ours_on_top=True),
    ]


def _attention(channels: int, share: float) -> list[RatioRow]:
    def row(
        side: int,
        target: str,
        baseline: str,
        least: float,
        aim: float,
        kind: RatioKind = RatioKind.time,
    ) -> RatioRow:
        size = f"{channels}x{side}x{side}"
        subject = f"one attention, C {channels}, {side}x{side}"
        suite = f"attention_{size}"
        return RatioRow(suite, subject, target, baseline, least * share, aim * share, kind=kind)

    return [
        row(56, ONNX_RUNTIME, "unfold", 5, 7),
        row(56, OPENVINO, "unfold", 2.5, 4),
        row(200, ONNX_RUNTIME, "branched", 2, 3),
        row(200, OPENVINO, "branched", 4.5, 6),
        row(200, ONNX_RUNTIME, "branched", 5, 8, RatioKind.memory),
    ]


def _low_precision(suite: str, subject: str) -> list[RatioRow]:
    """Return ratios of a network in low precision to itself in float32, without limits."""

    def row(
        ours: str,
        target: str,
        wanted: Wanted,
        baseline: str = "float32",
        kind: RatioKind = RatioKind.time,
    ) -> RatioRow:
        on_top = kind is RatioKind.size
        return RatioRow(suite, subject, target, baseline, *wanted, on_top, kind=kind, ours=ours)

    return [
        row("int8", OPENVINO, (2.0, 2.6)),
        row("int8", ONNX_RUNTIME, (1.5, 2.0)),
        row("bfloat16", OPENVINO, (1.55, 1.8)),
        row("int8 and bfloat16", OPENVINO, SHOWN),
        row("int8, AVX2", OPENVINO, SHOWN, "float32, AVX2"),
        *(row("int8", target, (0.27, 0.25), kind=RatioKind.size) for target in RUNTIMES),
    ]


def _runtimes(suite: str, subject: str) -> list[RatioRow]:
    """Return ratios of a network on other runtimes to itself on ONNX Runtime."""
    wanted: dict[str, Wanted] = {
        LITERT: (0.95, 0.87),
        EXECUTORCH: (1.15, 1.08),
        OPENVINO: SHOWN,
    }
    return [
        RatioRow(
            suite, subject, target, "ours", *each, ours_on_top=True, baseline_target=ONNX_RUNTIME
        )
        for target, each in wanted.items()
    ]


ROWS: tuple[RatioRow, ...] = (
    *_swin("slide_swin_tiny", "Slide-Swin-T, 224", 1),
    # The same network with unfold instead of slide attention.
    *_whole(
        *("slide_swin_tiny", "Slide-Swin-T, 224", "unfold"),
        {ONNX_RUNTIME: (1.7, 2.2), OPENVINO: (1.3, 1.6)},
    ),
    *_low_precision("int8_slide_swin_tiny", "Slide-Swin-T, 224"),
    *_runtimes("runtimes_slide_swin_tiny", "Slide-Swin-T, 224"),
    *_attention(96, 1),  # tiny and small
    *_swin("slide_swin_small", "Slide-Swin-S, 224", _LARGER),
    *_swin("slide_swin_base", "Slide-Swin-B, 224", _LARGER),
    *_attention(128, _LARGER),  # base
    *_equal(
        *("equal_accuracy_swin", "Slide-Swin-S, 224", "Swin-B"),
        {ONNX_RUNTIME: (1.4, 1.7), OPENVINO: (1.3, 1.5)},
    ),
    *_equal(
        *("equal_accuracy_pvt", "Slide-PVT-S, 224", "PVT-L"),
        {ONNX_RUNTIME: (2.0, 2.3), OPENVINO: (2.0, 2.3)},
    ),
    *_whole("equal_accuracy_pvt", "Slide-PVT-S, 224", "unfold", dict.fromkeys(RUNTIMES, SHOWN)),
    *_other_host("equal_accuracy_pvt", "Slide-PVT-S, 224"),
    *_other_host("slide_pvt_v2_b1", "Slide-PVTv2-B1, 224"),
    *_other_host("slide_cswin_small", "Slide-CSWin-S, 224"),
)
# A run for the plots of accuracy against latency, without required ratios.
ACCURACY = "accuracy"
SUITES: tuple[str, ...] = (*dict.fromkeys(row.suite for row in ROWS), ACCURACY)
