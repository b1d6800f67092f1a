"""Made-up runs: realistic ones, and ones that try to break a report."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from benchmarks.record import (
    RECORD_VERSION,
    Artifact,
    Candidate,
    ColdStart,
    Configuration,
    Limits,
    Measurement,
    Memory,
    OperatorTime,
    Round,
    Run,
    Tensor,
    WarmUp,
)

SERVER = {
    "system": "Linux 6.1",
    "processor": "AMD EPYC 7B12",
    "cores": "2",
    "instructions": "AVX2, FMA",
    "memory": "24 GB",
    "governor": "unknown",
}
LAPTOP = {"system": "macOS 15.1", "processor": "Apple M2", "cores": "8", "memory": "16 GB"}


def rounds(
    milliseconds: float,
    count: int = 12,
    calls: int = 40,
    seed: int = 0,
    drift: float = 0.0,
    streams: int = 1,
) -> tuple[Round, ...]:
    """Rounds with the skewed noise of a shared machine; ``drift`` from the first to the last."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        level = milliseconds * (1 + drift * index / max(count - 1, 1) + generator.normal(0, 0.01))
        noise = 1 + generator.gamma(2.0, 0.012, calls) + 0.25 * (generator.random(calls) < 0.02)
        samples = (level * noise * 1e6).astype(int)
        seconds = float(samples.sum()) / 1e9 / streams
        made.append(Round(index * 4.0, seconds, tuple(map(int, samples))))
    return tuple(made)


def operators(count: int = 24) -> tuple[OperatorTime, ...]:
    kinds = ("FusedConv", "MatMul", "LayerNormalization", "Softmax", "Gelu", "Mul", "Reorder")
    return tuple(
        OperatorTime(
            f"/layers.{index % 4}/blocks.{index % 3}/attn/{kinds[index % 7]}_{index}",
            kinds[index % 7],
            int(4e6 * 0.82**index) + 900,
        )
        for index in range(count)
    )


def measurement(
    name: str,
    target: str = "onnxruntime:cpu",
    milliseconds: float = 10.0,
    configuration: Configuration | None = None,
    accuracy: float | None = None,
    **changes: object,
) -> Measurement:
    """Return the measurement of a successful candidate."""
    configuration = configuration or Configuration(threads=2)
    seed = sum(map(ord, name + target))
    made = Measurement(
        candidate=Candidate(name, f"models/{name}", target, configuration),
        artifact=Artifact(
            name, "ab" * 32, 113_400_000, 4_600_000_000, 28_348_834, 114_000_000, accuracy
        ),
        runtime={"library": target.split(":")[0], "version": "1.32.0", "device": "CPU"},
        inputs=(Tensor("image", "float32", (configuration.batch, 3, 224, 224)),),
        cold=ColdStart({"import": 0.21, "read": 0.05, "compile": 0.62, "first run": 0.031}),
        warm_up=WarmUp(20, 1.2, True),
        memory=Memory(90 << 20, 260 << 20, 410 << 20),
        rounds=rounds(milliseconds, seed=seed, streams=configuration.streams),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def run(measurements: Iterable[Measurement], **changes: object) -> Run:
    made = Run(
        version=RECORD_VERSION,
        tool="0.2.0",
        started="2026-11-25T06:40:00+00:00",
        seconds=20.0,
        machine=SERVER,
        measurements=tuple(measurements),
        limits=Limits(2, (9.1e10, 9.0e10, 9.2e10), (1.8e10, 1.75e10)),
        noise=1.03,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def server() -> Run:
    """Two targets, a profile, a sustained run, drift, a file that failed."""
    sustained = rounds(95.0, count=60, calls=12, seed=5, drift=0.22)
    return run(
        [
            measurement("slide_swin_tiny-branched.onnx", milliseconds=117, accuracy=0.823),
            measurement(
                "slide_swin_tiny-depthwise.onnx",
                milliseconds=95,
                accuracy=0.823,
                operators=operators(),
                sustained=sustained,
            ),
            measurement(
                "slide_swin_tiny-flat.onnx",
                milliseconds=101,
                accuracy=0.823,
                rounds=rounds(101, seed=8, drift=0.24),
                warm_up=WarmUp(40, 5.0, False),
            ),
            measurement("slide_swin_tiny-int8.onnx", milliseconds=70, accuracy=0.811),
            measurement(
                "slide_swin_tiny-branched.xml", "openvino:cpu", milliseconds=163, accuracy=0.823
            ),
            measurement(
                "slide_swin_tiny-depthwise.xml", "openvino:cpu", milliseconds=85, accuracy=0.823
            ),
            measurement(
                "slide_swin_tiny-depthwise.xml (batch 8)",
                "openvino:cpu",
                milliseconds=610,
                configuration=Configuration(threads=2, batch=8),
                accuracy=0.823,
            ),
            failing("slide_swin_tiny.mlpackage", "coreml:ane"),
        ]
    )


def laptop() -> Run:
    """A second device: short calls, percentiles that the sample cannot support."""
    return run(
        [
            measurement("slide_swin_tiny.mlpackage", "coreml:ane", milliseconds=0.94),
            measurement(
                "slide_swin_tiny-fp16.mlpackage",
                "coreml:ane",
                milliseconds=0.81,
                rounds=rounds(0.81, count=6, calls=5, seed=2),
                memory=Memory(None, None, None),
            ),
        ],
        machine=LAPTOP,
        limits=None,
        noise=None,
        interrupted=True,
    )


def failing(name: str, target: str = "onnxruntime:cpu", error: str | None = None) -> Measurement:
    return Measurement(
        Candidate(name, f"models/{name}", target),
        error=error or "coreml:ane needs macOS; run it on a Mac.",
    )


HOSTILE = (
    '<script>document.title="owned"</script>.onnx',
    "a|b|c `code` [link](https://example.com) ![i](https://example.com/i.png)",
    "<b>bold</b> &lt;i&gt; $x$ %{x} {{ 7*7 }}",
    "</script><img src=https://example.com/x.png onerror=alert(1)>",
    "line\nbreak\r\n\u202egnp.exe\x00\x1b[31m @team #12",
)


def hostile() -> Run:
    """Return a run in which every text of a result file tries to be markup."""
    made = [
        measurement(name, HOSTILE[0], 10 + index, accuracy=0.5 + index / 10)
        for index, name in enumerate(HOSTILE)
    ]
    made[0] = replace(
        made[0],
        runtime={HOSTILE[3]: HOSTILE[1]},
        operators=tuple(OperatorTime(name, name, 1000) for name in HOSTILE),
        sustained=rounds(10, count=5, calls=4),
        cold=ColdStart({HOSTILE[0]: 0.5}),
    )
    made.extend(failing(f"broken {name}", HOSTILE[2], error=name) for name in HOSTILE)
    return run(made, machine={name: name for name in HOSTILE})


def sparse() -> Run:
    """No samples, one sample, two rounds; a baseline without figures."""
    return run(
        [
            measurement("none.onnx", rounds=(), memory=None, cold=None, warm_up=None),
            measurement("one.onnx", rounds=(Round(0.0, 0.01, (10_000_000,)),), artifact=None),
            measurement("two.onnx", rounds=rounds(9.0, count=2, calls=1)),
        ],
        limits=None,
    )


def empty() -> Run:
    return run([], machine={}, limits=None)
