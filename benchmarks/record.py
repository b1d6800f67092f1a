"""Dataclasses that a benchmark run records. `result.py` writes them as JSON and validates them.

Call times are whole nanoseconds, durations are seconds, sizes are bytes.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from slide_deploy.backends.base import Configuration as Configuration
from slide_deploy.backends.base import OperatorTime as OperatorTime
from slide_deploy.precisions import Limit

# 1: first version.
RECORD_VERSION = 1


@dataclass(frozen=True)
class Artifact:
    """The measured file.

    Attributes:
        name: File name without its folder.
        sha256: SHA-256 of the content, companions included. Equal to the manifest's, if there is
            a manifest.
        size: Bytes of all its files.
        macs: Multiply-accumulates for one image; None where they cannot be counted.
        parameters: Number of weights; None where they cannot be counted.
        traffic: Lower bound of the bytes moved for one image: weights, input and output.
        accuracy: Top-1 accuracy of this file (0 to 1) from an evaluation, the manifest or a suite.
            Reports plot it against latency and size.
        accuracy_interval: Ends of its 95 % interval; None if the accuracy was not measured by an
            evaluation.
        published_accuracy: Published top-1 accuracy of the network. This file may hold other
            weights.
        calibration: Data that activation ranges were calibrated on, from the manifest; empty if
            the file was not calibrated.
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
    """One file on one target in one configuration. Each candidate runs in a process of its own.

    Attributes:
        name: Name that tables show, unique in its run.
        path: Path of the file on the measuring machine.
        target: A name in `slide_deploy.backends.registry`, or "module:attribute" of a custom
            target.
        configuration: Settings that it runs with.
        extra_work: Busy waiting inside the timed region, as a share of the call's time. Tests of
            the gate use it to make a candidate slower.
        line: Family of the candidate. A plot joins the members of a family with a line. Empty if
            it belongs to none.
    """

    name: str
    path: str
    target: str
    configuration: Configuration = field(default_factory=Configuration)
    extra_work: float = 0.0
    line: str = ""


@dataclass(frozen=True)
class Tensor:
    """Name, data type and shape of an input as the runtime received it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ColdStart:
    """Time until the first output in a new process. The file may be in the system's cache.

    Attributes:
        stages: Seconds by stage, in order: "import", "read", "compile", "first run". A runtime may
            lack some of them.
    """

    stages: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """Resident memory of the candidate's process in bytes; None where the system has no figure.

    Attributes:
        imported: After the runtime's library was imported, before the file was loaded.
        loaded: After the file was loaded.
        peak: Peak of the whole run.
    """

    imported: int | None
    loaded: int | None
    peak: int | None


@dataclass(frozen=True)
class WarmUp:
    """Calls made before the measurement.

    Attributes:
        calls: Number of calls.
        seconds: Duration.
        stable: Whether the latency was steady at the end.
    """

    calls: int
    seconds: float
    stable: bool


@dataclass(frozen=True)
class Round:
    """Consecutive calls of one candidate.

    Attributes:
        start: Seconds since the run began.
        seconds: From the start of the first call to the end of the last one, over all streams.
        samples: Nanoseconds per call, in the order in which calls ended. Each is the mean of
            ``repetitions`` calls.
    """

    start: float
    seconds: float
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Proof:
    """Errors of the timed session against the outputs of the trained network.

    Attributes:
        cases: Number of inputs that were run.
        relative: Largest absolute error divided by the largest absolute value of the output: the
            maximum over all cases and outputs. For integer outputs, the share that differs.
        snr_db: Smallest signal-to-noise ratio in dB; None if all outputs were exact or integer.
        precision: Precision of the file, from its reference outputs; empty if unknown.
    """

    cases: int
    relative: float
    snr_db: float | None
    precision: str = ""

    def within(self, limit: Limit) -> bool:
        """Return whether both errors keep the limit. ``snr_db`` None always keeps it."""
        snr_passes = self.snr_db is None or self.snr_db >= limit.snr_db
        return snr_passes and self.relative <= limit.relative


@dataclass(frozen=True)
class Measurement:
    """Results of one candidate.

    Attributes:
        candidate: What was requested.
        artifact: The file; None if it could not be read.
        runtime: Library, version, device and settings as the runtime reports them.
        inputs: The inputs as the runtime received them.
        proof: Verified errors of its outputs; None for a file without reference outputs.
        repetitions: Calls in each sample. Above 1 only where one call is too short for the clock.
        cold: Time until the first output.
        warm_up: Calls until the latency was steady.
        memory: Memory of the process.
        rounds: Rounds, interleaved with those of the other candidates.
        sustained: One long run without rests, if it was requested.
        operators: Time of each operator, if profiling was requested.
        error: One sentence on why the candidate failed; None if it did not.
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
        """Nanoseconds per call, round by round."""
        return tuple(round.samples for round in self.rounds)

    @property
    def samples_per_image(self) -> tuple[tuple[float, ...], ...]:
        """Nanoseconds per image, round by round. Batches of different sizes are comparable."""
        batch = self.candidate.configuration.images
        return tuple(tuple(sample / batch for sample in samples) for samples in self.samples)

    @property
    def pooled_samples(self) -> tuple[int, ...]:
        """Nanoseconds per call of all rounds together."""
        return tuple(sample for samples in self.samples for sample in samples)


@dataclass(frozen=True)
class Limits:
    """Peak rates of the processor, measured in the same run with the same threads.

    Attributes:
        threads: Number of threads.
        macs_per_second: Multiply-accumulates per second of a large float32 matmul, one figure for
            each round.
        bytes_per_second: Bytes read and written outside the caches, one figure for each round.
        product: Library and size of the matmul; empty in older files, which always used numpy.
        cache: Bytes of the processor's largest cache; None if unknown.
    """

    threads: int
    macs_per_second: tuple[float, ...]
    bytes_per_second: tuple[float, ...]
    product: str = ""
    cache: int | None = None


@dataclass(frozen=True)
class Run:
    """One run: the content of a result file.

    Attributes:
        version: Version of the file format.
        tool: Version of slide-deploy.
        started: Start in UTC, ISO 8601.
        seconds: Measuring time of each candidate.
        machine: `slide_deploy.machine.describe()`.
        measurements: One for each candidate, in the order of the request.
        limits: Peak rates of the processor; None if they were not measured.
        interrupted: Whether the user ended the run early.
        noise: Ratio that this machine shows between equal candidates (A/A), if calibrated. 1.03
            means that 95 % of such ratios lie between 1/1.03 and 1.03.
    """

    # Pydantic settings for this class and its fields. A plain dict, as devices lack pydantic.
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
