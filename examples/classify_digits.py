"""Classify handwritten digits with a trained model and with the files that were written from it.

The branched PyTorch model and every file in the folder classify the held-out images one by one;
accuracy, agreement with PyTorch and latency stand side by side. The latency is measured as
`slide-deploy bench` does it: a process for each, in turns, and ratios turn by turn.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from digits_data import Images, Labels, held_out
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.candidates import Sweep, candidates
from benchmarks.measuring.race import Plan, race
from benchmarks.record import Measurement
from benchmarks.statistics import paired_ratio
from slide_deploy.console import stdout, table
from slide_deploy.errors import MissingExtra, SlideDeployError

Predictor = Callable[[Images], NDArray[np.floating]]

FILES = (".onnx", ".xml", ".mlpackage")  # what `slide-deploy export` writes beside the manifest
CHECKPOINT = Path(__file__).parent / "digits.pth"
# Runs a Core ML file where Core ML itself is missing, to check its answers. How long it takes says
# nothing about a device.
INTERPRETER = "mil-interpreter"
INTERPRETER_SECONDS = 4.0  # then it stops: a part of the images is enough to compare

# Enough for one digit of the speed-up; `slide-deploy bench` takes longer.
SECONDS, ROUNDS = 1.5, 10
# A device that calculates in half precision may see a doubtful digit differently.
LEAST_AGREEMENT = 0.99

EXAMPLE = """\
example:
  slide-deploy export examples/digits.pth --to onnx --to openvino --to coreml --out build/digits
  python examples/classify_digits.py build/digits
"""


@dataclass(frozen=True)
class Answers:
    """What a model said.

    Args:
        path: of its file.
        runtime: what ran it.
        version: of that.
        classes: its answers on the first images, all of them unless it is slow.
    """

    path: Path
    runtime: str
    version: str
    classes: Labels


def main() -> int:
    """Classify, time and print; the exit code."""
    arguments = _parse()
    checkpoint: Path = arguments.checkpoint
    if not checkpoint.is_file():
        return _refuse(f"{checkpoint} does not exist: train it with examples/train.py.")
    names = [f"{checkpoint.stem}{suffix}" for suffix in FILES]
    files = [path for name in names if (path := arguments.folder / name).exists()]
    if not files:
        return _refuse(
            f"{arguments.folder} holds none of {', '.join(names)}: run slide-deploy export "
            f"{checkpoint} --to onnx --out {arguments.folder}."
        )

    console = stdout()
    images, labels = held_out()
    remarks, failures = [], []
    with console.status("classifying"):
        try:
            reference = _answers(checkpoint, images)
        except SlideDeployError as error:
            return _refuse(str(error))
        answers = [reference]
        for path in files:
            try:
                answers.append(_answers(path, images))
            except MissingExtra as error:  # nothing is wrong but that its runtime is not here
                remarks.append(f"{path.name} is left out: {error}")
            except SlideDeployError as error:
                failures.append(str(error))
    with console.status("timing"):
        timed = _timed([each for each in answers if each.runtime != INTERPRETER])

    failures += [
        f"{each.path} does not answer as the trained model does: export it again."
        for each in answers
        if not _agreement(each, reference) >= LEAST_AGREEMENT
    ]
    failures += [f"{path} failed: {each.error}" for path, each in timed.items() if each.error]
    console.print(_table(answers, labels, timed))
    for remark in (*_remarks(answers, len(labels)), *remarks):
        console.print(remark, markup=False)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _answers(path: Path, images: Images) -> Answers:
    """Classify with the checkpoint or a written file."""
    runtime, version, predict = _open(path)
    seconds = INTERPRETER_SECONDS if runtime == INTERPRETER else math.inf
    return Answers(path, runtime, version, _classify(predict, images, seconds))


def _open(path: Path) -> tuple[str, str, Predictor]:
    """What runs a file, its version, and the call that does."""
    if path.suffix in FILES:
        from slide_deploy.backends import open_image_file

        file = open_image_file(path)

        def classify(image: Images) -> NDArray[np.floating]:
            return next(iter(file.answers(image).values()))

        return file.session.runtime, file.session.version, classify

    import torch

    from slide_deploy.hosts import load_checkpoint

    model = load_checkpoint(path).model

    @torch.inference_mode()
    def predict(image: Images) -> NDArray[np.floating]:
        logits: NDArray[np.floating] = model(torch.from_numpy(image)).numpy()
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


def _timed(answers: Sequence[Answers]) -> dict[Path, Measurement]:
    """Race the models, each with one thread; PyTorch comes first."""
    paths = [each.path for each in answers]
    run = race(Plan(candidates(paths, Sweep()), seconds=SECONDS, rounds=ROUNDS))
    if run.interrupted:
        raise KeyboardInterrupt
    return dict(zip(paths, run.measurements, strict=True))


def _agreement(answers: Answers, reference: Answers) -> float:
    """Share of the images that both classified, to which they gave the same class."""
    count = min(len(answers.classes), len(reference.classes))
    return float((answers.classes[:count] == reference.classes[:count]).mean())


def _table(answers: Sequence[Answers], labels: Labels, timed: Mapping[Path, Measurement]) -> Table:
    headers = ("accuracy", "agreement", "latency", "speed-up", "95 %")
    report = table(
        f"{len(labels)} handwritten digits that training never saw, one at a time, one thread each",
        [("model", False), ("runs on", False), *((header, True) for header in headers)],
    )
    reference = answers[0]
    for each in answers:
        count = len(each.classes)
        report.add_row(
            each.path.name,
            f"{each.runtime} {each.version}",
            f"{(each.classes == labels[:count]).mean():.2%}",
            f"{_agreement(each, reference):.1%}",
            *_speed(timed.get(each.path), timed[reference.path]),
        )
    return report


def _speed(measurement: Measurement | None, reference: Measurement) -> tuple[str, str, str]:
    """Latency, how many times faster than the reference, and the interval of that."""
    if measurement is None or not measurement.pooled_samples:
        return "—", "—", "—"
    latency = f"{np.median(measurement.pooled_samples) / 1e6:.2f} ms"
    faster = paired_ratio(reference.samples, measurement.samples)
    if measurement is reference or faster is None:
        return latency, "—", "—"
    interval = faster.interval
    return latency, f"{faster.value:.1f}×", f"{interval.low:.1f}–{interval.high:.1f}"


def _remarks(answers: Sequence[Answers], images: int) -> Iterator[str]:
    """What the table does not say."""
    yield "Agreement and speed-up: with the trained, branched model in PyTorch. Latency: median."
    for each in answers:
        if each.runtime == INTERPRETER:
            yield (
                f"{each.path.name} needs macOS to be timed. Here {INTERPRETER} ran it,\n"
                f"which checks its answers and says nothing about its speed."
            )
        if len(each.classes) < images:
            yield f"{each.path.name} saw the first {len(each.classes)} of them."


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
