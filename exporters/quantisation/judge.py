"""Pictures whose classes are known, and how often the trained network is right about them."""

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
    """What files are judged by.

    Attributes:
        max_drop: percentage points of top-1 that a file may lose.
        pictures: whose classes are known, none of them one on which ranges are measured.
        names: of the classes, in the order of the logits; may be empty.
        trained: how often the trained network is right.
    """

    max_drop: float
    pictures: Collection
    names: Sequence[str]
    trained: Outcome

    def outcome(self, path: Path) -> Outcome:
        """How often a file is right.

        Raises:
            InputError: if it cannot be run.
        """
        return evaluate_session(open_image_file(path), self.pictures, names=self.names)


def labelled_pictures(
    deployable: Deployable, options: ExportOptions, calibration: Calibration | None
) -> Collection | None:
    """The pictures on which files are judged, before anything is computed; None without a limit.

    Args:
        deployable: the network as trained.
        options: of the export.
        calibration: its pictures are left out, if ranges are measured on them.

    Raises:
        InputError: if the limit is none, or is asked for where nothing can return to float, or no
            picture with a class is left.
    """
    if options.max_drop is None:
        if options.data is not None:
            raise InputError(
                f"--data {options.data} has the pictures for --max-drop: give that limit, or use "
                f"slide-deploy evaluate."
            )
        return None
    require_limit(options.max_drop)
    if calibration is None or not precision_named(options.precision).is_calibrated:
        raise InputError(
            f"--max-drop lets layers of an int8 file return to float, and this one is to be "
            f"{options.precision}: use slide-deploy evaluate --max-drop for it."
        )
    if not class_count(deployable):
        raise InputError(
            f"{deployable.origin.name} answers {', '.join(deployable.outputs)}, no row of classes: "
            f"leave out --max-drop."
        )
    source = options.data or options.calibration
    assert source is not None
    option = f"--calibration {source}" if options.data is None else f"--data {source}"
    if source.suffix.lower() == ".npz":
        raise InputError(
            f"--max-drop needs pictures whose classes are known and {option} has none: give --data "
            f"a folder with one folder for each class, or a CSV file of path,label."
        )
    found = read_collection(source)
    if not found.has_labels:
        raise InputError(
            f"--max-drop needs pictures whose classes are known and {option} does not say them: "
            f"give --data a folder with one folder for each class, or a CSV file of path,label."
        )
    measured = {path.resolve() for path in calibration.pictures}
    left = tuple(each for each in found.pictures if each.path.resolve() not in measured)
    if not left:
        raise InputError(
            f"{option} has no picture but those on which ranges are measured: give --data others."
        )
    return replace(found, pictures=left)


def judge_of(deployable: Deployable, options: ExportOptions, pictures: Collection) -> Judge:
    """Ask the trained network for the class of every picture.

    Args:
        deployable: the network as trained.
        options: of the export, with a limit.
        pictures: whose classes are known.

    Raises:
        InputError: if the network takes no pictures, or a label means no class of it.
    """
    assert options.max_drop is not None
    trained = trained_classifier(deployable)
    known = completed(deployable, options.preprocessing)
    assert known.mean is not None
    assert known.deviation is not None
    taken = replace(trained.taken, mean=known.mean, deviation=known.deviation)
    outcome = evaluate_classifier(replace(trained, taken=taken), pictures, names=options.labels)
    return Judge(options.max_drop, pictures, options.labels, outcome)
