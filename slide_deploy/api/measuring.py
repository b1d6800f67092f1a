"""The benchmark in Python."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.candidates import Sweep, candidates
from benchmarks.measuring.race import RacePlan, race
from benchmarks.record import Configuration, Run
from slide_deploy.api.arguments import (
    PathLike,
    Progress,
    path_of,
    paths_of,
    public,
    steps,
    texts_of,
)
from slide_deploy.errors import InputError


@dataclass(frozen=True, repr=False)
class BenchResult:
    """The result of a benchmark. Its ``repr`` is the table of the command line.

    Attributes:
        run: every sample of every candidate, as a result file stores it.
    """

    run: Run

    @property
    def passed(self) -> bool:
        """Whether every candidate was measured to its end."""
        return not self.problems and not self.run.interrupted

    @property
    def problems(self) -> tuple[str, ...]:
        """Why candidates failed, one sentence each."""
        measurements = self.run.measurements
        return tuple(f"{each.candidate.name}: {each.error}" for each in measurements if each.error)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Median latency of a call in milliseconds, by candidate. Candidates need samples."""
        samples = {each.candidate.name: each.pooled_samples for each in self.run.measurements}
        return {name: median(each) / 1e6 for name, each in samples.items() if each}

    @property
    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """Time per image relative to the first candidate, paired by round, with its interval.

        By candidate: the ratio and the ends of its 95 % interval. A ratio above 1 means slower.
        Candidates that share fewer than six rounds with the first one are omitted.
        """
        from benchmarks.statistics import paired_ratio

        first, *others = self.run.measurements
        found = {
            each.candidate.name: paired_ratio(each.samples_per_image, first.samples_per_image)
            for each in others
        }
        return {
            name: (ratio.value, ratio.interval.low, ratio.interval.high)
            for name, ratio in found.items()
            if ratio is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON-compatible data, the content of a result file."""
        return asdict(self.run)

    def save(self, path: PathLike) -> None:
        """Write the run down.

        Args:
            path: a ``.json`` file is what ``slide-deploy compare`` and ``report`` read, an
                ``.html`` file a page with plots, an ``.md`` file has tables. It is replaced if it
                exists.

        Raises:
            InputError: if it ends in anything else, or cannot be written.
        """
        from benchmarks.report import render_html, render_markdown
        from benchmarks.result import encode
        from slide_deploy.files.writing import write_bytes, write_text

        place = path_of(path, "path")
        if place.suffix == ".json":
            write_bytes(place, encode(self.run, place))
        elif place.suffix == ".html":
            write_text(place, render_html([self.run]))
        elif place.suffix == ".md":
            write_text(place, render_markdown([self.run]))
        else:
            raise InputError(f"{place} has no known suffix: end it in .json, .html or .md.")

    def __repr__(self) -> str:
        from benchmarks.report.summary import summarise
        from benchmarks.report.terminal import render_terminal
        from slide_deploy.terminal.console import as_text

        (section,) = summarise([self.run])
        return as_text(*render_terminal(section.views[0]))


@public
def bench(
    files: PathLike | Sequence[PathLike],
    *,
    target: str | Sequence[str] = (),
    seconds: float = 10.0,
    rounds: int = 20,
    batch: int | Sequence[int] = 1,
    streams: int | Sequence[int] = 1,
    threads: int | None = None,
    pin: Sequence[int] = (),
    precision: str | None = None,
    shape: Mapping[str, Sequence[int]] | None = None,
    option: Mapping[str, str] | None = None,
    profile: bool = False,
    sustained: float = 0.0,
    accuracy: PathLike | Sequence[PathLike] = (),
    progress: Progress = False,
) -> BenchResult:
    """Benchmark files against each other, each in its own process, in random order.

    Args:
        files: exported files. The first is the baseline of the ratios.
        target: runtime and device, or several, such as "onnxruntime:cpu". Default: every target
            that is available here.
        seconds: seconds of measuring for each candidate.
        rounds: number of rounds, 6 or more. Each candidate runs once in every round.
        batch: number of images in one call, or several numbers to compare.
        streams: number of concurrent calls, or several numbers to compare.
        threads: threads for one call. Default: one for each core.
        pin: numbers of the CPUs to run on.
        precision: precision of the arithmetic: "float32", "float16", "bfloat16", or "default" for
            the runtime's own choice. Default: the precision in each file's metadata.
        shape: shapes of inputs with open sizes, by name, such as ``{"image": (1, 3, 224, 224)}``.
        option: options of the runtime, by the runtime's names.
        profile: also time each operator, where the runtime can.
        sustained: seconds of load without pauses afterwards, to detect thermal throttling.
        accuracy: paths of evaluation results of these files, for the accuracy plots.
        progress: show a progress bar on stderr, or call this function with each step as it starts.

    Returns:
        Every sample of every candidate, medians and ratios. ``problems`` says why a candidate
        failed. If Ctrl-C ended the run early, ``run.interrupted`` is set.

    Raises:
        InputError: if a file, a target or a number cannot be used.
        MissingExtra: if a library for benchmarks is not installed.
        KeyboardInterrupt: if Ctrl-C came before the first sample.
    """
    from benchmarks.artifact import describe_artifact
    from benchmarks.calibration import stored_noise
    from benchmarks.evaluated import read_accuracies, require_use, stated
    from slide_deploy.machine import usable_threads
    from slide_deploy.tasks.options import require_bench

    require_bench()
    batches, calls = _counts(batch, "--batch"), _counts(streams, "--streams")
    if not seconds >= 0.1 or not rounds >= 6 or not sustained >= 0:
        raise InputError(
            f"--seconds {seconds}, --rounds {rounds}, --sustained {sustained}: give 0.1 seconds or "
            f"more, 6 rounds or more, and no negative number."
        )
    pinned = tuple(pin)
    if threads is not None:
        _counts(threads, "--threads")
    sizes = {name: tuple(int(each) for each in given) for name, given in (shape or {}).items()}
    configuration = Configuration(
        threads=threads or len(pinned) or usable_threads(),
        pinned=pinned,
        precision=precision or "float32",
        shapes=sizes,
        options=dict(option or {}),
    )
    sweep = Sweep(texts_of(target), batches, calls, configuration, precision is None)
    found = candidates(paths_of(files, "files"), sweep)
    shares = read_accuracies(paths_of(accuracy, "--accuracy") if accuracy else ())
    artifacts = {each.name: stated(describe_artifact(Path(each.path)), shares) for each in found}
    require_use(shares, artifacts.values())
    plan = RacePlan(
        found,
        artifacts,
        seconds=seconds,
        rounds=rounds,
        sustained=sustained,
        profile=profile,
        limits=max(each.configuration.threads for each in found),
    )
    with steps(progress, plan.steps) as step:
        run = race(plan, step)
    if run.interrupted and not any(each.rounds for each in run.measurements):
        raise KeyboardInterrupt
    return BenchResult(replace(run, noise=stored_noise([each.target for each in found])))


def _counts(value: int | Sequence[int], argument: str) -> tuple[int, ...]:
    """Return one number or several as a tuple."""
    found = (value,) if isinstance(value, int) else tuple(value)
    if not found or not all(isinstance(each, int) and each >= 1 for each in found):
        raise InputError(f"{argument} {value} is not a count: give 1 or more.")
    return found
