"""Classify handwritten digits with a trained model and with the files exported from it.

The branched PyTorch model and every file in the folder classify the held-out images one by one, on
every target that runs here. A table shows accuracy, agreement with PyTorch, the error of the proof
and latency. Latency is measured as in `slide-deploy bench`: one process each, taking turns, with
ratios paired by turn. Files with wrong outputs are not timed.
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

from benchmarks.measuring.race import RacePlan, race
from benchmarks.record import Candidate, Measurement
from benchmarks.statistics import paired_ratio
from slide_deploy.backends.base import Target
from slide_deploy.backends.registry import targets_for
from slide_deploy.errors import SlideDeployError
from slide_deploy.formats import suffixes
from slide_deploy.terminal.console import stdout, table
from slide_deploy.verification.reference_outputs.checking import (
    reference_beside,
    verify_by_reference,
)

Predictor = Callable[[Images], NDArray[np.floating]]

CHECKPOINT = Path(__file__).parent / "digits.pth"
PYTORCH = "torch:cpu"
# openvino:auto chooses one of the other targets. For browsers, use slide-deploy bench FILE --web.
LEFT_OUT = ("openvino:auto", "web:")
# A target that only verifies files may be slow, so it gets only some of the images.
PROVING_SECONDS = 4.0

# Enough for one digit of the speed-up. `slide-deploy bench` takes longer.
SECONDS, ROUNDS = 1.5, 10
# A device that computes in half precision may classify an ambiguous digit differently.
LEAST_AGREEMENT = 0.99

EXAMPLE = """\
example:
  slide-deploy export examples/digits.pth --to onnx --to openvino --to coreml --out build/digits
  python examples/classify_digits.py build/digits
"""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model on a target.

    Args:
        path: Path of its file.
        target: Target that ran it.
        classes: Predicted classes of the first images; of all images unless it is slow.
        error: Largest error of the proof / largest reference output; None for the checkpoint.
        is_timed: Whether the target's latency represents a real device.
    """

    path: Path
    target: str
    classes: Labels
    error: float | None = None
    is_timed: bool = True


def main() -> int:
    """Classify, time and print. Return the exit code."""
    arguments = _parse()
    checkpoint: Path = arguments.checkpoint
    if not checkpoint.is_file():
        return _refuse(f"{checkpoint} does not exist: train it with examples/train.py.")
    names = [f"{checkpoint.stem}{suffix}" for suffix in suffixes()]
    files = [path for name in names if (path := arguments.folder / name).exists()]
    if not files:
        return _refuse(
            f"{arguments.folder} contains none of {', '.join(names)}: run slide-deploy export "
            f"{checkpoint} --to onnx --out {arguments.folder}."
        )

    console = stdout()
    images, labels = held_out()
    failures = []
    with console.status("classifying"):
        try:
            found = [Predictions(checkpoint, PYTORCH, _classify(_trained(checkpoint), images))]
        except SlideDeployError as error:
            return _refuse(str(error))
        for path in files:
            for target in _present(path):
                try:
                    found.append(_predictions(path, target, images))
                except SlideDeployError as error:
                    failures.append(str(error))
    with console.status("timing"):
        timed = _timed([each for each in found if each.is_timed])

    reference = found[0]
    failures += [
        f"{each.path} and the trained model predict different classes on {each.target}: export it "
        f"again."
        for each in found
        if not _agreement(each, reference) >= LEAST_AGREEMENT
    ]
    failures += [f"{name} failed: {each.error}" for name, each in timed.items() if each.error]
    console.print(_table(found, labels, timed))
    for remark in _remarks(found, files, len(labels)):
        console.print(remark, markup=False)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _present(path: Path) -> list[Target]:
    """Return the targets that can time a file here or, if there are none, those that verify it."""
    found = (target for target in targets_for(path) if not target.name.startswith(LEFT_OUT))
    present = [target for target in found if target.find().present]
    return [target for target in present if target.is_timed] or present


def _predictions(path: Path, target: Target, images: Images) -> Predictions:
    """Verify a file on a target, and classify with it."""
    from slide_deploy.backends import open_image_file

    proof = verify_by_reference(path, reference_beside(path), target.name)
    file = open_image_file(path, target=target.name)

    def predict(image: Images) -> NDArray[np.floating]:
        return next(iter(file.outputs(image).values()))

    classes = _classify(predict, images, math.inf if target.is_timed else PROVING_SECONDS)
    return Predictions(path, target.name, classes, proof.worst.max_relative, target.is_timed)


def _trained(checkpoint: Path) -> Predictor:
    import torch

    from slide_deploy.hosts import load_checkpoint

    model = load_checkpoint(checkpoint).model

    @torch.inference_mode()
    def predict(image: Images) -> NDArray[np.floating]:
        logits: NDArray[np.floating] = model(torch.from_numpy(image)).numpy()
        return logits

    return predict


def _classify(predict: Predictor, images: Images, seconds: float = math.inf) -> Labels:
    """Classify images one by one until the time is over, at least one."""
    deadline = time.perf_counter() + seconds
    classes: list[int] = []
    for index in range(len(images)):
        if classes and time.perf_counter() > deadline:
            break
        logits = predict(images[index : index + 1])
        # argmax would choose NaN as the largest. -1 counts as wrong.
        classes.append(int(logits.argmax()) if np.isfinite(logits).all() else -1)
    return np.array(classes, dtype=np.int64)


def _name(predictions: Predictions) -> str:
    return f"{predictions.path.name} on {predictions.target}"


def _timed(found: Sequence[Predictions]) -> dict[str, Measurement]:
    """Race the models with one thread each. PyTorch comes first."""
    candidates = tuple(Candidate(_name(each), str(each.path), each.target) for each in found)
    run = race(RacePlan(candidates, seconds=SECONDS, rounds=ROUNDS))
    if run.interrupted:
        raise KeyboardInterrupt
    return {each.candidate.name: each for each in run.measurements}


def _agreement(predictions: Predictions, reference: Predictions) -> float:
    """Return the share of equal classes among the images that both classified."""
    count = min(len(predictions.classes), len(reference.classes))
    return float((predictions.classes[:count] == reference.classes[:count]).mean())


def _table(found: Sequence[Predictions], labels: Labels, timed: Mapping[str, Measurement]) -> Table:
    headers = ("accuracy", "agreement", "error", "latency", "speed-up", "95 %")
    report = table(
        f"{len(labels)} held-out handwritten digits, one at a time, one thread each",
        [("model", False), ("target", False), *((header, True) for header in headers)],
    )
    reference = found[0]
    for each in found:
        count = len(each.classes)
        report.add_row(
            each.path.name,
            each.target,
            f"{(each.classes == labels[:count]).mean():.2%}",
            f"{_agreement(each, reference):.1%}",
            "—" if each.error is None else f"{each.error:.0e}".replace("e-0", "e-"),
            *_speed(timed.get(_name(each)), timed[_name(reference)]),
        )
    return report


def _speed(measurement: Measurement | None, reference: Measurement) -> tuple[str, str, str]:
    """Return latency, speed-up over the reference, and the interval of the speed-up."""
    if measurement is None or not measurement.pooled_samples:
        return "—", "—", "—"
    latency = f"{np.median(measurement.pooled_samples) / 1e6:.2f} ms"
    faster = paired_ratio(reference.samples, measurement.samples)
    if measurement is reference or faster is None:
        return latency, "—", "—"
    interval = faster.interval
    return latency, f"{faster.value:.1f}×", f"{interval.low:.1f}–{interval.high:.1f}"


def _remarks(found: Sequence[Predictions], files: Sequence[Path], images: int) -> Iterator[str]:
    """Yield notes below the table."""
    yield (
        "Agreement and speed-up are relative to the trained, branched model in PyTorch. Latency\n"
        "is the median. Error is the largest in the proof that each file passed before timing."
    )
    for each in found:
        if not each.is_timed:
            count = len(each.classes)
            part = f", on the first {count} of them" if count < images else ""
            yield f"{each.target} only verifies {each.path.name}{part}: it is not a real device."
    known = {each.path for each in found}
    for path in files:
        if path not in known:
            hints = "; ".join(target.find().detail for target in targets_for(path)[:1])
            yield f"{path.name} is left out, as no installed runtime runs it ({hints})."


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Classify held-out handwritten digits with PyTorch and with exported files.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of exported files")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=CHECKPOINT,
        help="checkpoint that they were exported from; default: %(default)s",
    )
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
