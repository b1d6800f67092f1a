"""Classify handwritten digits with a trained model and with the files that were written from it.

The branched PyTorch model and every file in the folder classify the held-out images one by one;
accuracy, agreement with PyTorch and latency stand side by side.

Each candidate lives in a process of its own, as the threads of several runtimes disturb each other
in one, and where the system allows it on one core, the same for all. Latency is measured in rounds:
a round times every candidate once, in random order, so that a machine that slows down slows all of
them. Latency is the median over rounds, the ratio to PyTorch the median of the rounds' ratios.
"""

import argparse
import math
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from digits_data import Images, Labels, held_out
from numpy.typing import NDArray
from rich.table import Table

from slide_deploy.console import stdout, table
from slide_deploy.errors import MissingExtra, SlideDeployError

Logits = NDArray[np.floating]
Predictor = Callable[[Images], Logits]

FILES = (".onnx", ".xml", ".mlpackage")  # what `slide-deploy export` writes beside the manifest
CHECKPOINT = Path(__file__).parent / "digits.pth"
# Runs a Core ML file where Core ML itself is missing, to check its answers. How long it takes says
# nothing about a device.
INTERPRETER = "mil-interpreter"

INTERPRETER_SECONDS = 4.0  # then it stops: a part of the images is enough to compare

ROUNDS = 9
ROUND_SECONDS = 0.15  # of one candidate in one round
REST_SECONDS = 0.15  # until the threads of the candidate before have stopped waiting for work
LEAST_SHARE = 0.9  # of its core: a candidate that got less was held up by other work
# A device that calculates in half precision may see a doubtful digit differently.
LEAST_AGREEMENT = 0.99

EXAMPLE = """\
example:
  slide-deploy export examples/digits.pth --to onnx --to openvino --to coreml --out build/digits
  python examples/classify_digits.py build/digits
"""


@dataclass(frozen=True)
class Answers:
    """What a candidate said.

    Args:
        runtime: what ran it.
        version: of that.
        classes: its answers on the first images, all of them unless it is slow.
    """

    runtime: str
    version: str
    classes: Labels


@dataclass(frozen=True)
class Refusal:
    """Why a candidate says nothing.

    Args:
        reason: a sentence.
        not_installed: nothing is wrong but that its runtime is not here.
    """

    reason: str
    not_installed: bool = False


@dataclass(frozen=True)
class Round:
    """One turn of a candidate.

    Args:
        seconds: of one image, median.
        elapsed: seconds of all images.
        calculating: seconds of all images on a processor, over all threads.
    """

    seconds: float
    elapsed: float
    calculating: float


@dataclass(frozen=True)
class Latency:
    """How fast a candidate was.

    Args:
        milliseconds: of one image, median over rounds.
        speedup: how many times faster than PyTorch in the same round, median over rounds.
        share: how much of its core it got.
    """

    milliseconds: float
    speedup: float
    share: float


class Candidate:
    """One model in a process of its own: a checkpoint for PyTorch, or a written file.

    Args:
        path: the checkpoint or the file.
        images: what to classify, one by one.
    """

    def __init__(self, path: Path, images: Images) -> None:
        self.path = path
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, path, images), daemon=True)
        self._process.start()
        theirs.close()

        self.answers = self._receive_answers()

    def _receive_answers(self) -> Answers | Refusal:
        try:
            received: Answers | Refusal = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            return Refusal(f"{self.path} ended its process with exit code {code}.")
        return received

    def time(self) -> Round:
        """Let it have its turn."""
        self._pipe.send("time")
        measured: Round = self._pipe.recv()
        return measured

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # which its loop takes for the end
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()


def main() -> int:
    """Classify, time and print; the exit code."""
    arguments = _parse()
    checkpoint: Path = arguments.checkpoint
    if not checkpoint.is_file():
        return _refuse(f"{checkpoint} does not exist: train it with examples/train_digits.py.")
    names = [f"{checkpoint.stem}{suffix}" for suffix in FILES]
    files = [path for name in names if (path := arguments.folder / name).exists()]
    if not files:
        return _refuse(
            f"{arguments.folder} holds none of {', '.join(names)}: run slide-deploy export "
            f"{checkpoint} --to onnx --out {arguments.folder}."
        )

    console = stdout()
    images, labels = held_out()
    candidates: list[Candidate] = []
    try:
        with console.status("classifying"):
            # One after the other: they share a core.
            for path in (checkpoint, *files):
                candidates.append(Candidate(path, images))
        reference = candidates[0].answers
        if isinstance(reference, Refusal):
            return _refuse(reference.reason)
        with console.status("timing"):
            timed = [candidate for candidate in candidates if _worth_timing(candidate)]
            latencies = race(timed, random.Random(0))
    finally:
        for candidate in candidates:
            candidate.close()

    console.print(_table(candidates, reference, labels, latencies))
    for remark in _remarks(candidates, latencies):
        console.print(remark, markup=False)
    failures = [
        failure
        for candidate in candidates
        if (failure := _failure(candidate, reference)) is not None
    ]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def race(candidates: Sequence[Candidate], order: random.Random) -> dict[Candidate, Latency]:
    """Time candidates in interleaved rounds; the first is what the others are compared with."""
    rounds: dict[Candidate, list[Round]] = {candidate: [] for candidate in candidates}
    for _ in range(ROUNDS):
        for candidate in order.sample(candidates, len(candidates)):
            time.sleep(REST_SECONDS)
            rounds[candidate].append(candidate.time())
    reference = rounds[candidates[0]]
    return {candidate: _summary(own, reference) for candidate, own in rounds.items()}


def _summary(rounds: Sequence[Round], reference: Sequence[Round]) -> Latency:
    ratios = [theirs.seconds / own.seconds for theirs, own in zip(reference, rounds, strict=True)]
    return Latency(
        milliseconds=1e3 * statistics.median(turn.seconds for turn in rounds),
        speedup=statistics.median(ratios),
        share=sum(turn.calculating for turn in rounds) / sum(turn.elapsed for turn in rounds),
    )


def _worth_timing(candidate: Candidate) -> bool:
    return isinstance(candidate.answers, Answers) and candidate.answers.runtime != INTERPRETER


def _serve(pipe: Connection, path: Path, images: Images) -> None:
    """The child process: classify once, then take a turn whenever asked."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        runtime, version, predict = _open(path)
        seconds = INTERPRETER_SECONDS if runtime == INTERPRETER else math.inf
        pipe.send(Answers(runtime, version, _classify(predict, images, seconds)))
    except SlideDeployError as error:
        pipe.send(Refusal(str(error), isinstance(error, MissingExtra)))
        return
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(_time(predict, images))


def _open(path: Path) -> tuple[str, str, Predictor]:
    """What runs a file, its version, and the call that does."""
    if path.suffix in FILES:
        from slide_deploy.runtimes import open_file

        session = open_file(path)
        return session.runtime, session.version, session

    import torch

    from slide_deploy.checkpoint import load_checkpoint

    model = load_checkpoint(path).model

    @torch.inference_mode()
    def predict(image: Images) -> Logits:
        logits: Logits = model(torch.from_numpy(image)).numpy()
        return logits

    return "PyTorch", torch.__version__.split("+")[0], predict


def _classify(predict: Predictor, images: Images, seconds: float) -> Labels:
    """Answers on the first images, one by one, as many as fit into the time, at least one."""
    deadline = time.perf_counter() + seconds
    classes: list[int] = []
    for index in range(len(images)):
        if classes and time.perf_counter() > deadline:
            break
        logits = predict(images[index : index + 1])
        # argmax takes NaN for the largest: no class at all counts as wrong.
        classes.append(int(logits.argmax()) if np.isfinite(logits).all() else -1)
    return np.array(classes, dtype=np.int64)


def _time(predict: Predictor, images: Images) -> Round:
    """Take a turn."""
    predict(images[:1])  # wakes the threads
    seconds: list[float] = []
    processor = time.process_time()
    beginning = now = time.perf_counter()
    while now < beginning + ROUND_SECONDS:
        index = len(seconds) % len(images)
        start = time.perf_counter()
        predict(images[index : index + 1])
        now = time.perf_counter()
        seconds.append(now - start)
    return Round(statistics.median(seconds), now - beginning, time.process_time() - processor)


def _agreement(answers: Answers, reference: Answers) -> float:
    """Share of the images that both classified, to which they gave the same class."""
    count = min(len(answers.classes), len(reference.classes))
    return float((answers.classes[:count] == reference.classes[:count]).mean())


def _failure(candidate: Candidate, reference: Answers) -> str | None:
    """What is wrong with a candidate; None if nothing is, or if its runtime is not here."""
    answers = candidate.answers
    if isinstance(answers, Refusal):
        return None if answers.not_installed else answers.reason
    if not _agreement(answers, reference) >= LEAST_AGREEMENT:
        return f"{candidate.path} does not answer as the trained model does: export it again."
    return None


def _table(
    candidates: Sequence[Candidate],
    reference: Answers,
    labels: Labels,
    latencies: Mapping[Candidate, Latency],
) -> Table:
    cores = ", one core each" if sys.platform == "linux" else ""
    report = table(
        f"{len(labels)} handwritten digits that training never saw, one at a time{cores}",
        [
            ("model", False),
            ("runs on", False),
            ("images", True),
            ("accuracy", True),
            ("agreement", True),
            ("latency", True),
            ("speed-up", True),
        ],
    )
    for candidate in candidates:
        answers, latency = candidate.answers, latencies.get(candidate)
        if isinstance(answers, Refusal):
            continue
        count = len(answers.classes)
        report.add_row(
            candidate.path.name,
            f"{answers.runtime} {answers.version}",
            str(count),
            f"{(answers.classes == labels[:count]).mean():.2%}",
            f"{_agreement(answers, reference):.1%}",
            "—" if latency is None else f"{latency.milliseconds:.2f} ms",
            "—" if latency is None else f"{latency.speedup:.1f}×",
        )
    return report


def _remarks(
    candidates: Sequence[Candidate], latencies: Mapping[Candidate, Latency]
) -> Iterator[str]:
    """What the table does not say."""
    yield "Agreement and speed-up: with the trained, branched model in PyTorch. Latency: median."
    for candidate in candidates:
        if isinstance(candidate.answers, Refusal):
            if candidate.answers.not_installed:
                yield f"{candidate.path.name} is left out: {candidate.answers.reason}"
        elif candidate.answers.runtime == INTERPRETER:
            yield (
                f"{candidate.path.name} needs macOS to be timed. Here {INTERPRETER} ran it,\n"
                f"which checks its answers and says nothing about its speed."
            )
    share = min(latency.share for latency in latencies.values())
    if share < LEAST_SHARE:
        yield (
            f"The machine was busy: one of them got {share:.0%} of its core. That holds up a slow "
            f"model more\nthan a fast one, so the speed-ups look larger than they are: try again."
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Classify held-out handwritten digits with PyTorch and with written files.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what slide-deploy export wrote")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=CHECKPOINT,
        help="what it wrote it from; default: %(default)s",
    )
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
