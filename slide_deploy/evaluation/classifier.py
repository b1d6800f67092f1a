"""A file or network that returns one score for each class of a batch of images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slide_deploy.backends import ImageSession, open_image_file
from slide_deploy.backends.opening import proof_configuration, target_for
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.formats import find_format
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.images.description import read_description
from slide_deploy.images.prediction import choose_output
from slide_deploy.images.preprocessing import ImageInput, image_input
from slide_deploy.precisions import FLOAT32, known_precisions

# Top-5 accuracy, as on ImageNet.
TOP = 5


@dataclass(frozen=True)
class Classifier:
    """A file or network under evaluation.

    Attributes:
        name: its name in tables.
        sha256: hash of the file and its companions, or of the checkpoint.
        file: the opened session.
        taken: how images are prepared for it.
        output: name of the output with the class scores. If None, the file's metadata or the
            output shapes decide.
    """

    name: str
    sha256: str
    file: ImageSession
    taken: ImageInput
    output: str | None = None

    @property
    def stated_output(self) -> str | None:
        """Name of the class output according to the file's metadata; None if it names none."""
        described = read_description(self.file.session.metadata)
        stated = None if described is None else described.output
        return stated if stated in self.file.session.outputs else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names stored in the file, in the order of the scores; may be empty."""
        described = read_description(self.file.session.metadata)
        return () if described is None else described.labels

    @property
    def normalisation(self) -> str:
        """Mean and standard deviation of its inputs; empty if a file for pixels states none."""
        if self.taken.pixels and read_description(self.file.session.metadata) is None:
            return ""
        mean, deviation = (
            ",".join(f"{each:g}" for each in values)
            for values in (self.taken.mean, self.taken.deviation)
        )
        return f"mean {mean} and deviation {deviation}"

    def rows(self, images: Sequence[np.ndarray], batch: int) -> np.ndarray:
        """Class scores of shape (image, class).

        Every call has the same batch size, because a runtime's result for one image may depend on
        the batch size. The last image is repeated to fill the last batch.

        Args:
            images: prepared as in ``taken``, each with a batch of 1.
            batch: batch size for a file whose batch is open.

        Raises:
            InputError: if the runtime rejects them, or no output holds class scores.
        """
        size = self.file.image.shape[0] or batch
        found = []
        for start in range(0, len(images), size):
            given = list(images[start : start + size])
            filled = np.concatenate([*given, *[given[-1]] * (size - len(given))])
            outputs = self.file.session({self.file.image.name: filled})
            try:
                output = choose_output(outputs, size, self.output or self.stated_output)
            except InputError as error:
                raise InputError(f"{self.name}: {error}") from error
            rows = outputs[output].reshape(size, -1)
            found.append(np.asarray(rows[: len(given)], dtype=np.float64))
        return np.concatenate(found)


@dataclass
class Judgements:
    """Predictions of one classifier so far, in the order of the images.

    Attributes:
        predicted: the class with the highest score; -1 if a score was not finite.
        ranks: number of classes that score above the correct one, capped at ``TOP``; empty if the
            correct classes are unknown.
    """

    predicted: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)

    def add(self, rows: np.ndarray, truth: Sequence[int]) -> None:
        """Add a batch. Ties go to the lower class index, as in argmax.

        Args:
            rows: scores of shape (image, class).
            truth: the correct class of each image; empty if unknown.
        """
        broken = np.isnan(rows).any(axis=1) | np.isposinf(rows).any(axis=1)
        first = np.where(broken, -1, np.where(broken[:, None], 0.0, rows).argmax(axis=1))
        self.predicted += [int(each) for each in first]
        if not len(truth):
            return
        right = rows[np.arange(len(rows)), truth][:, None]
        earlier = np.arange(rows.shape[1])[None] < np.asarray(truth)[:, None]
        before = ((rows > right) | ((rows == right) & earlier)).sum(axis=1)
        self.ranks += [int(each) for each in np.where(broken, TOP, np.minimum(before, TOP))]


def names_of(paths: Sequence[Path]) -> list[str]:
    """Names of files for tables. Files that share a name are shown with their folders."""
    names = [path.name for path in paths]
    return [
        str(path) if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def refuse_as_network(path: Path) -> None:
    """Refuse a model file in place of the trained network.

    Raises:
        InputError: it is one. The message says how files are compared with one another.
    """
    if find_format(path) is not None:
        raise InputError(
            f"--against {path} is a model file: give it as the first file, and the others are "
            f"compared with it."
        )


def open_classifier(
    path: Path, name: str, size: tuple[int, int] | None = None, output: str | None = None
) -> Classifier:
    """Open an exported file.

    Args:
        path: the file.
        name: its name in tables.
        size: image height and width, for a file whose sizes are open.
        output: name of the output with the class scores; chosen automatically if None.

    Raises:
        InputError: if the file cannot run, or its input is not an image.
    """
    file = _open_as_claimed(path)
    try:
        taken = image_input(file, size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Classifier(name, model_digest(path), file, taken, output)


def _open_as_claimed(path: Path) -> ImageSession:
    """Open a file so that it computes in its declared precision, as on its target device."""
    file = open_image_file(path)
    claim = file.session.metadata.get(PRECISION_KEY, "")
    known = {precision.name for precision in known_precisions()}
    if claim not in known or _way(path, claim) == _way(path, FLOAT32.name):
        return file
    return open_image_file(path, claim)


def _way(path: Path, precision: str) -> tuple[str, str]:
    """The target that runs a file of a precision here, and the precision it computes in."""
    target = target_for(path, precision).name
    return target, proof_configuration(target, precision).precision
