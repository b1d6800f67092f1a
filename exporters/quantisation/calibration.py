"""Reads calibration sets: examples for measuring ranges, and others for verification.

They come from a folder of images, or from a NumPy archive with an array for each input whose first
axis counts the examples. The two sets share no image, because a file must also be right on inputs
that it was not calibrated on. Images that cannot be read are left out and named, as in
``slide-deploy evaluate``, and others are drawn instead.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exporters.images import completed, with_ends
from exporters.outcome import ExportOptions
from exporters.quantisation.examples import Calibration, Examples, Feeds
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.pixels import image_place
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.images.collection import Collection, Picture, read_collection
from slide_deploy.images.preprocessing import ImageInput
from slide_deploy.precisions import known_precisions, precision_named
from slide_deploy.terminal.printable import as_text
from slide_deploy.verification.cases import example_case

# Chosen, not measured: more images widen the ranges, and each takes time.
MEASURED = 128
# Chosen as well: the trained network runs on each of them in float64.
HELD_BACK = 16
_LEAST = 4
# Largest archive in bytes after decompression, as a guard against decompression bombs.
_LARGEST_ARCHIVE = 1 << 30
# Outputs are compared after subtracting their mean over the examples, which needs at least two.
_LEAST_HELD_BACK = 2


def refuse_calibration(options: ExportOptions) -> None:
    """Check that an export has a calibration set if, and only if, its precision uses one.

    Raises:
        InputError: if the set is missing or not used.
    """
    precision = precision_named(options.precision)
    if precision.is_calibrated and options.calibration is None:
        raise InputError(
            f"{precision.name} needs examples to measure ranges of values: give --calibration a "
            f"folder of some hundred images, or a .npz file."
        )
    uses = precision.is_calibrated or precision.can_overflow
    if options.calibration is not None and not uses:
        able = (each.name for each in known_precisions() if each.is_calibrated or each.can_overflow)
        raise InputError(
            f"{precision.name} does not use examples: leave out --calibration, or give "
            f"--precision {' or '.join(able)}."
        )


def calibration_of(deployable: Deployable, options: ExportOptions) -> Calibration:
    """Read the calibration set of an export.

    Raises:
        InputError: if the set does not fit the network.
    """
    assert options.calibration is not None
    if deployable.open_names and set(deployable.open_names) != {BATCH_NAME}:
        raise InputError(
            f"{options.precision} is calibrated at a fixed size: leave {deployable.open_names[0]} "
            f"fixed."
        )
    return read_calibration(options.calibration, deployable, options)


def read_calibration(
    source: Path, deployable: Deployable, options: ExportOptions, seed: int = 0
) -> Calibration:
    """Read a calibration set for a network.

    Args:
        source: a folder of images, at any depth, or a ``.npz`` file with an array for each input.
        deployable: the network as trained.
        options: options of the export, which state whether files take pixels.
        seed: seed of the sample of a folder.

    Raises:
        InputError: if there are too few examples, or they do not fit the network.
    """
    if source.suffix.lower() == ".npz":
        return _of_archive(source, with_ends(deployable, options))
    place = image_place(deployable)
    if place is None or len(deployable.inputs) != 1:
        names = ", ".join(each.name for each in deployable.inputs)
        raise InputError(
            f"--calibration {source} is a folder of images and {deployable.origin.name} takes "
            f"{names}: give a .npz file with an array for each."
        )
    ours = deployable.inputs[place]
    batch, channels, height, width = ours.example.shape
    if channels != 3:
        raise InputError(
            f"--calibration {source} is a folder of images and {deployable.origin.name} takes "
            f"images of {channels} channels: give a .npz file with an array for {ours.name}."
        )
    known, pixels = completed(deployable, options.preprocessing), options.preprocessing.embedded
    assert known.mean is not None
    assert known.deviation is not None
    dtype = "uint8" if pixels else ours.example.dtype.name
    taken = ImageInput((height, width), False, dtype, pixels, False, known.mean, known.deviation)
    collection = read_collection(source)
    pictures, damaged = _readable(collection, taken, (MEASURED + HELD_BACK) * batch, seed)
    if not pictures:
        raise InputError(
            f"--calibration {source} has {len(damaged)} images and none can be read; the first "
            f"error is: {damaged[0][1]}"
        )
    shuffled = [pictures[each] for each in np.random.default_rng(seed).permutation(len(pictures))]
    count = len(pictures) // batch
    held_back = _held_back(source, count)

    def load(place: int) -> Feeds:
        members = shuffled[place * batch : (place + 1) * batch]
        return {ours.name: np.concatenate([taken.load(each.path) for each in members])}

    examples = Examples(count, load)
    return Calibration(
        source=as_text(source),
        sha256=_digest(shuffled[: count * batch]),
        seed=seed,
        measured=examples[held_back:],
        held_back=_different(source, examples[:held_back]),
        pictures=tuple(each.path for each in shuffled[held_back * batch : count * batch]),
        skipped=collection.others,
        damaged=tuple(damaged),
    )


def _readable(
    collection: Collection, taken: ImageInput, count: int, seed: int
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """Draw readable images from a collection, up to a number.

    Returns:
        The images in the order of their names, and the name of each drawn image that cannot be
        read, with the reason.
    """
    readable: set[Picture] = set()
    damaged: dict[Picture, str] = {}
    drawn = count
    while len(readable) < count and len(readable) + len(damaged) < len(collection.pictures):
        # A larger sample contains the smaller one.
        for picture in collection.sample(drawn, seed).pictures:
            if picture in readable or picture in damaged:
                continue
            try:
                taken.load(picture.path)
            except InputError as error:
                damaged[picture] = str(error)
            else:
                readable.add(picture)
        drawn = count + len(damaged)
    return (
        [each for each in collection.pictures if each in readable],
        [
            (as_text(each.name), as_text(damaged[each]))
            for each in collection.pictures
            if each in damaged
        ],
    )


def _held_back(source: Path, examples: int) -> int:
    """Return the number of examples to hold back for verification."""
    if examples < _LEAST:
        raise InputError(
            f"--calibration {source} has {examples} examples: give at least {_LEAST}, better a "
            f"hundred."
        )
    return max(_LEAST_HELD_BACK, min(HELD_BACK, examples // 4))


def _different(source: Path, examples: Examples) -> Examples:
    """Return the examples unless all are equal: a constant output would pass on such a set."""
    together = example_case("examples held back", examples).inputs.values()
    if any((values != values[:1]).any() for values in together):
        return examples
    raise InputError(
        f"--calibration {source} has only equal examples: give examples that are typical for the "
        f"network."
    )


def _digest(pictures: Sequence[Picture]) -> str:
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(
            f"{picture.name}\0{sha256(picture.path)}\n".encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()


def _is_kept(array: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether a type can hold an array's values; float64 may be rounded to float32.

    Integers do not count as floats: they are probably pixels that were not normalised.
    """
    is_float = (array.dtype.kind == "f", dtype.kind == "f")
    if is_float[0] != is_float[1] or not np.can_cast(array.dtype, dtype, "same_kind"):
        return False
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    if (array.dtype, dtype) == (np.float64, np.float32):
        return bool((np.isfinite(cast) | ~np.isfinite(array)).all())
    return np.array_equal(cast, array, equal_nan=is_float[0])


def _check_size(source: Path) -> None:
    """Check, before anything is decompressed, that an archive is not too large.

    Raises:
        InputError: if the arrays are larger than ``_LARGEST_ARCHIVE``.
        ValueError: if the path is not a file.
        OSError, BadZipFile: if the file is not a readable archive.
    """
    if not source.is_file():
        raise ValueError
    with zipfile.ZipFile(source) as archive:
        size = sum(item.file_size for item in archive.infolist())
    if size > _LARGEST_ARCHIVE:
        raise InputError(
            f"--calibration {source} has {size / 2**30:.1f} GiB of arrays and at most "
            f"{_LARGEST_ARCHIVE >> 30} GiB is read: give fewer examples, {MEASURED + HELD_BACK} "
            f"are used at most."
        )


def _of_archive(source: Path, deployable: Deployable) -> Calibration:
    try:
        _check_size(source)
        with np.load(source, allow_pickle=False) as archive:
            arrays = {as_text(name): archive[name] for name in archive.files}
        if not all(isinstance(each, np.ndarray) for each in arrays.values()):
            raise ValueError  # the archive has a member that is not an array
    except InputError:
        raise
    except Exception as error:  # zip, zlib and NumPy raise many types
        raise InputError(
            f"--calibration {source} is not a NumPy archive: write one with numpy.savez."
        ) from error
    wanted = {each.name: each.example for each in deployable.inputs}
    if set(arrays) != set(wanted):
        raise InputError(
            f"--calibration {source} has {', '.join(arrays) or 'no arrays'} and "
            f"{deployable.origin.name} takes {', '.join(wanted)}: give an array for each."
        )
    for name, example in wanted.items():
        if not example.shape or not example.shape[0]:
            raise InputError(
                f"{deployable.origin.name} takes {name} without a batch axis, so examples cannot "
                f"be stacked: choose another --precision."
            )
        array = arrays[name]
        fits = array.ndim == example.ndim and array.shape[1:] == example.shape[1:]
        if not fits or not _is_kept(array, example.dtype):
            raise InputError(
                f"--calibration {source} has {name} of {array.dtype} "
                f"{'x'.join(map(str, array.shape))}: give {example.dtype} of "
                f"Nx{'x'.join(map(str, example.shape[1:]))}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"--calibration {source} has values in {name} that are not finite: remove them."
            )
    counts = {len(array) // wanted[name].shape[0] for name, array in arrays.items()}
    if len(counts) != 1:
        raise InputError(
            f"--calibration {source} has arrays of different lengths: give the same number of "
            f"examples of each input."
        )
    count = min(counts.pop(), MEASURED + HELD_BACK)
    held_back = _held_back(source, count)

    def load(place: int) -> Feeds:
        rows = {name: example.shape[0] for name, example in wanted.items()}
        return {
            name: array[place * rows[name] : (place + 1) * rows[name]].astype(wanted[name].dtype)
            for name, array in arrays.items()
        }

    examples = Examples(count, load)
    return Calibration(
        source=as_text(source),
        sha256=sha256(source),
        seed=0,
        measured=examples[held_back:],
        held_back=_different(source, examples[:held_back]),
    )
