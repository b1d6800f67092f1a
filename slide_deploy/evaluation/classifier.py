"""A file, or a network, that gives a number for each class of a batch of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slide_deploy.backends import ImageSession, open_image_file
from slide_deploy.backends.opening import proof_configuration, target_for
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.images.description import read_description
from slide_deploy.images.prediction import choose_output
from slide_deploy.images.preprocessing import ImageInput, image_input
from slide_deploy.precisions import FLOAT32, known_precisions

# How many of the most probable classes count as nearly right, as on ImageNet.
TOP = 5


@dataclass(frozen=True)
class Classifier:
    """Something that is evaluated.

    Attributes:
        name: as tables show it.
        sha256: of the file and its companions, or of the checkpoint.
        file: opened.
        taken: how it takes pictures.
        output: of the file to read; the one that holds classes, as the file or its shapes say, if
            None.
    """

    name: str
    sha256: str
    file: ImageSession
    taken: ImageInput
    output: str | None = None

    @property
    def stated_output(self) -> str | None:
        """The output that holds classes, as the file itself says; None if it does not."""
        described = read_description(self.file.session.metadata)
        stated = None if described is None else described.output
        return stated if stated in self.file.session.outputs else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that the file itself holds, in their order; may be empty."""
        described = read_description(self.file.session.metadata)
        return () if described is None else described.labels

    @property
    def normalisation(self) -> str:
        """Mean and deviation of its pictures; empty of a file that takes pixels and says none."""
        if self.taken.pixels and read_description(self.file.session.metadata) is None:
            return ""
        mean, deviation = (
            ",".join(f"{each:g}" for each in values)
            for values in (self.taken.mean, self.taken.deviation)
        )
        return f"mean {mean} and deviation {deviation}"

    def rows(self, images: Sequence[np.ndarray], batch: int) -> np.ndarray:
        """The numbers of each class, (image, class).

        A call always has the same number of images, the last one repeated where there are fewer:
        what a runtime computes for an image may depend on how many there are.

        Args:
            images: prepared as ``taken`` says, each with its batch of 1.
            batch: images of one call where the file leaves it open.

        Raises:
            InputError: if the runtime refuses them, or gives no row of classes.
        """
        size = self.file.image.shape[0] or batch
        found = []
        for start in range(0, len(images), size):
            given = list(images[start : start + size])
            filled = np.concatenate([*given, *[given[-1]] * (size - len(given))])
            answers = self.file.session({self.file.image.name: filled})
            try:
                output = choose_output(answers, size, self.output or self.stated_output)
            except InputError as error:
                raise InputError(f"{self.name}: {error}") from error
            rows = answers[output].reshape(size, -1)
            found.append(np.asarray(rows[: len(given)], dtype=np.float64))
        return np.concatenate(found)


@dataclass
class Judgements:
    """What one classifier said of the pictures so far, in their order.

    Attributes:
        predicted: the class that it holds most probable; -1 where a number was not finite.
        ranks: how many classes it holds more probable than the right one, ``TOP`` for that many and
            more; empty where nobody knows the right one.
    """

    predicted: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)

    def add(self, rows: np.ndarray, truth: Sequence[int]) -> None:
        """Judge some pictures.

        Of classes that are equally probable the first comes first, as with argmax.

        Args:
            rows: (picture, class).
            truth: the right class of each; empty where nobody knows.
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
    """What tables call files: their names, with their folders where two have one name."""
    names = [path.name for path in paths]
    return [
        str(path) if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def open_classifier(
    path: Path, name: str, size: tuple[int, int] | None = None, output: str | None = None
) -> Classifier:
    """Open a written file.

    Args:
        path: of the file.
        name: as tables show it.
        size: height and width of pictures where the file leaves them open.
        output: of the file to read; the one that holds classes if left out.

    Raises:
        InputError: if the file cannot be run, or takes no pictures.
    """
    file = _open_as_claimed(path)
    try:
        taken = image_input(file, size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Classifier(name, model_digest(path), file, taken, output)


def _open_as_claimed(path: Path) -> ImageSession:
    """A file that computes in what it claims, as on the device that it is meant for."""
    file = open_image_file(path)
    claim = file.session.metadata.get(PRECISION_KEY, "")
    known = {precision.name for precision in known_precisions()}
    if claim not in known or _way(path, claim) == _way(path, FLOAT32.name):
        return file
    return open_image_file(path, claim)


def _way(path: Path, precision: str) -> tuple[str, str]:
    """The target that runs a file of a precision here, and what it computes in."""
    target = target_for(path, precision).name
    return target, proof_configuration(target, precision).precision
