"""What a run of the benchmark records: plain data, written as JSON, validated in `result.py`.

Times of calls are whole nanoseconds, durations are seconds, sizes are bytes.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from slide_deploy.backends.base import Configuration, OperatorTime
from slide_deploy.precisions import Limit

__all__ = [
    "RECORD_VERSION",
    "Artifact",
    "Candidate",
    "ColdStart",
    "Configuration",
    "Limits",
    "Measurement",
    "Memory",
    "OperatorTime",
    "Round",
    "Run",
    "Tensor",
    "WarmUp",
]

# 1: the first form.
RECORD_VERSION = 1


@dataclass(frozen=True)
class Artifact:
    """The file that is measured.

    Attributes:
        name: of the file, without its folder.
        sha256: of its content, companions included; as the manifest has it where there is one.
        size: of all its files.
        macs: multiply-accumulates of one image; None where they cannot be counted.
        parameters: numbers held as weights; None where they cannot be counted.
        traffic: bytes that one image must move at the very least: weights, input and output.
        accuracy: share of right answers that an evaluation, the manifest or a suite states of this
            file, for the plots beside latency and size.
        accuracy_interval: ends of its 95 % interval; None where it is only stated.
        published_accuracy: share of right answers that was published of the network, with weights
            that this file need not hold.
        calibration: what ranges of its values were measured on, as the manifest says; empty for a
            file that has none.
    """

    name: str
    sha256: str
    size: int
    macs: int | None = None
    parameters: int | None = None
    traffic: int | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    published_accuracy: float | None = None
    calibration: str = ""


@dataclass(frozen=True)
class Candidate:
    """One file on one target in one configuration: what gets a process of its own.

    Attributes:
        name: unique in its run, as tables show it.
        path: of the file, on the machine that measures.
        target: a name of `slide_deploy.backends.registry`, or "module:attribute" of a target of
            one's own.
        configuration: how it runs.
        extra_work: share of each call's time that is spent again, busily, inside the timed region;
            for tests of the gate.
        line: family that it belongs to, whose members a plot joins; empty without one.
    """

    name: str
    path: str
    target: str
    configuration: Configuration = field(default_factory=Configuration)
    extra_work: float = 0.0
    line: str = ""


@dataclass(frozen=True)
class Tensor:
    """An input as it was fed."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ColdStart:
    """Seconds until the first answer, in a fresh process; the file may be in the system's cache.

    Attributes:
        stages: by name, in order: "import", "read", "compile", "first run" as far as they exist.
    """

    stages: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """Resident memory of the candidate's process; None where the system does not tell.

    Attributes:
        imported: with the runtime's library, before the file.
        loaded: with the file.
        peak: highest of all.
    """

    imported: int | None
    loaded: int | None
    peak: int | None


@dataclass(frozen=True)
class WarmUp:
    """Calls before the measuring.

    Attributes:
        calls: how many.
        seconds: how long.
        stable: whether the latency had settled when it ended.
    """

    calls: int
    seconds: float
    stable: bool


@dataclass(frozen=True)
class Round:
    """Calls of one candidate in one go.

    Attributes:
        start: seconds after the run began.
        seconds: from the first call's start to the last one's end, over all streams.
        samples: nanoseconds a call, in the order in which they ended; each the mean of
            ``repetitions`` calls.
    """

    start: float
    seconds: float
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Proof:
    """That the very calls which were timed gave the trained network's answers.

    Attributes:
        cases: inputs that were run.
        relative: largest absolute error over the largest absolute value of the answer, of all
            cases and outputs.
        snr_db: least signal-to-noise ratio, in dB; None where nothing was noise: every answer was
            exact, or ``relative`` is the share of whole numbers that differ.
        precision: of the file, as its reference outputs state it; empty where it is not known.
    """

    cases: int
    relative: float
    snr_db: float | None
    precision: str = ""

    def within(self, limit: Limit) -> bool:
        """Whether both figures keep a limit. Without noise the largest error alone decides."""
        is_quiet = self.snr_db is None or self.snr_db >= limit.snr_db
        return is_quiet and self.relative <= limit.relative


@dataclass(frozen=True)
class Measurement:
    """All that is known of one candidate.

    Attributes:
        candidate: what was asked for.
        artifact: the file; None if it could not be read.
        runtime: library, version, device and settings as the runtime itself reports them.
        inputs: as they were fed.
        proof: that it answers right; None for a file without reference outputs.
        repetitions: calls in each sample: above 1 only where one call is too short for the clock.
        cold: until the first answer.
        warm_up: until the latency had settled.
        memory: of the process.
        rounds: interleaved with those of the other candidates.
        sustained: one long go without rests, if asked for.
        operators: the profile, if asked for.
        error: why it ended early, one sentence; None if it did not.
    """

    candidate: Candidate
    artifact: Artifact | None = None
    runtime: dict[str, str] = field(default_factory=dict)
    inputs: tuple[Tensor, ...] = ()
    proof: Proof | None = None
    repetitions: int = 1
    cold: ColdStart | None = None
    warm_up: WarmUp | None = None
    memory: Memory | None = None
    rounds: tuple[Round, ...] = ()
    sustained: tuple[Round, ...] = ()
    operators: tuple[OperatorTime, ...] = ()
    error: str | None = None

    @property
    def samples(self) -> tuple[tuple[int, ...], ...]:
        """Nanoseconds a call, round by round."""
        return tuple(round.samples for round in self.rounds)

    @property
    def samples_per_image(self) -> tuple[tuple[float, ...], ...]:
        """Nanoseconds an image, round by round, so that batches can be compared."""
        batch = self.candidate.configuration.images
        return tuple(tuple(sample / batch for sample in samples) for samples in self.samples)

    @property
    def pooled_samples(self) -> tuple[int, ...]:
        """Nanoseconds a call, of all rounds."""
        return tuple(sample for samples in self.samples for sample in samples)


@dataclass(frozen=True)
class Limits:
    """What the processor can do, measured in the same run with the same threads.

    Attributes:
        threads: that took part.
        macs_per_second: multiply-accumulates of a large float32 matrix product, a round each.
        bytes_per_second: read and written beyond the caches, a round each.
        product: the library and size of the matrix product; empty in files of before it was chosen,
            when it was numpy's.
        cache: bytes of the processor's largest cache; None where it is not known.
    """

    threads: int
    macs_per_second: tuple[float, ...]
    bytes_per_second: tuple[float, ...]
    product: str = ""
    cache: int | None = None


@dataclass(frozen=True)
class Run:
    """One run: what a result file holds.

    Attributes:
        version: of this form.
        tool: version of slide-deploy.
        started: UTC, ISO 8601.
        seconds: of measuring that each candidate was given.
        machine: `slide_deploy.machine.describe()`.
        measurements: one a candidate, in the order in which they were named.
        limits: of the processor; None if they were not measured.
        interrupted: whether the user ended it early.
        noise: ratio that this machine shows between equal candidates (A/A), if calibrated: 1.03
            means that 95 % of such ratios lie between 1/1.03 and 1.03.
    """

    # How pydantic reads this and all inside it; a plain dict, since devices have no pydantic.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }

    version: int
    tool: str
    started: str
    seconds: float
    machine: dict[str, str]
    measurements: tuple[Measurement, ...]
    limits: Limits | None = None
    interrupted: bool = False
    noise: float | None = None
