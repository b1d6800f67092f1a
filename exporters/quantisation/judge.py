"""Labelled images for ``--max-drop``, and the accuracy of the trained network on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters.images import completed
from exporters.outcome import ExportOptions
from exporters.quantisation.examples import Calibration
from slide_deploy.backends import open_image_file
from slide_deploy.deployable.pixels import class_count
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.evaluation.gate import require_limit
from slide_deploy.evaluation.run import Outcome, evaluate_classifier, evaluate_session
from slide_deploy.evaluation.trained import trained_classifier
from slide_deploy.images.collection import Collection, read_collection
from slide_deploy.precisions import precision_named


@dataclass(frozen=True)
class Judge:
    """Measures the accuracy of files on labelled images.

    Attributes:
        max_drop: percentage points of top-1 accuracy that a file may lose.
        pictures: labelled images, without those that are used to measure ranges.
        names: class names in the order of the logits; may be empty.
        trained: accuracy of the trained network.
    """

    max_drop: float
    pictures: Collection
    names: Sequence[str]
    trained: Outcome

    def outcome(self, path: Path) -> Outcome:
        """Measure the accuracy of a file.

        Raises:
            InputError: if the file cannot be run.
        """
        return evaluate_session(open_image_file(path), self.pictures, names=self.names)


def labelled_pictures(
    deployable: Deployable, options: ExportOptions, calibration: Calibration | None
) -> Collection | None:
    """Return the labelled images of an export; None without ``--max-drop``.

    Args:
        deployable: the network as trained.
        options: options of the export.
        calibration: the calibration set; images that are used to measure ranges are left out.

    Raises:
        InputError: if the limit is invalid, the precision has no operators that can return to
            float, the network has no classes, or no labelled image is left.
    """
    if options.max_drop is None:
        if options.data is not None:
            raise InputError(
                f"--data {options.data} has the images for --max-drop: give --max-drop as well, or "
                f"use slide-deploy evaluate."
            )
        return None
    require_limit(options.max_drop)
    if calibration is None or not precision_named(options.precision).is_calibrated:
        raise InputError(
            f"--max-drop returns layers of an int8 file to float, and the precision is "
            f"{options.precision}: use slide-deploy evaluate --max-drop instead."
        )
    if not class_count(deployable):
        raise InputError(
            f"{deployable.origin.name} outputs {', '.join(deployable.outputs)} and no class "
            f"scores: leave out --max-drop."
        )
    source = options.data or options.calibration
    assert source is not None
    option = f"--calibration {source}" if options.data is None else f"--data {source}"
    if source.suffix.lower() == ".npz":
        raise InputError(
            f"--max-drop needs labelled images and {option} has none: give --data a folder with "
            f"one folder for each class, or a CSV file of path,label."
        )
    found = read_collection(source)
    if not found.has_labels:
        raise InputError(
            f"--max-drop needs labelled images and {option} has no labels: give --data a folder "
            f"with one folder for each class, or a CSV file of path,label."
        )
    measured = {path.resolve() for path in calibration.pictures}
    left = tuple(each for each in found.pictures if each.path.resolve() not in measured)
    if not left:
        raise InputError(
            f"{option} has only images that are used to measure ranges: give --data other images."
        )
    return replace(found, pictures=left)


def judge_of(deployable: Deployable, options: ExportOptions, pictures: Collection) -> Judge:
    """Measure the accuracy of the trained network on labelled images, the baseline of every file.

    Raises:
        InputError: if the network takes no images, or a label is not one of its classes.
    """
    assert options.max_drop is not None
    trained = trained_classifier(deployable)
    known = completed(deployable, options.preprocessing)
    assert known.mean is not None
    assert known.deviation is not None
    taken = replace(trained.taken, mean=known.mean, deviation=known.deviation)
    outcome = evaluate_classifier(replace(trained, taken=taken), pictures, names=options.labels)
    return Judge(options.max_drop, pictures, options.labels, outcome)
