"""Suppression of boxes, and quantisation, against plain loops."""

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram

RANDOM = np.random.default_rng(12)
BATCH, COUNT, CLASSES, LIMIT = 2, 40, 3, 25
# Middles close together and sizes alike, so that many overlap.
BOXES = np.concatenate(
    [RANDOM.uniform(0, 3, (BATCH, COUNT, 2)), RANDOM.uniform(1, 2, (BATCH, COUNT, 2))], 2
).astype(np.float32)
SCORES = RANDOM.uniform(0, 1, (BATCH, COUNT, CLASSES)).astype(np.float32)
IMAGE = RANDOM.uniform(-3, 3, (2, 3, 5)).astype(np.float32)
SCALES = np.array([0.01, 0.02, 0.05], np.float32)


def overlap(a, b):
    """Intersection over union of two boxes."""
    shared = 1.0
    for axis in (0, 1):
        low = max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2)
        high = min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2)
        shared *= max(high - low, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def survivors(boxes, scores, iou, score, per_class):
    """The indices of the boxes that stay, the best first."""
    best, classes = scores.max(1), scores.argmax(1)
    kept = []
    for index in np.argsort(-best):
        rivals = [other for other in kept if not per_class or classes[other] == classes[index]]
        if best[index] >= score and all(overlap(boxes[index], boxes[o]) <= iou for o in rivals):
            kept.append(int(index))
    return kept[:LIMIT]


@pytest.fixture(scope="module", params=["iOS16", "iOS17"])
def found(request, convert):
    """Both operator sets' answers, by threshold and whether classes are apart."""
    newer = request.param == "iOS17"

    def build(mb, variables):
        for name, iou, score, per_class in SETTINGS:
            options = {} if newer else {"score_threshold": np.float32(score)}
            results = mb.non_maximum_suppression(
                boxes=variables["boxes"],
                scores=variables["scores"],
                iou_threshold=np.float32(iou),
                max_boxes=LIMIT,
                per_class_suppression=per_class,
                **options,
            )
            for index, result in enumerate(results):
                yield mb.identity(x=result, name=f"{name}_{index}")

    boxes, scores = (array.swapaxes(1, 2).copy() if newer else array for array in (BOXES, SCORES))
    inputs = {"boxes": boxes, "scores": scores}
    return newer, MilProgram.load(convert(inputs, build, request.param)).run(inputs)


SETTINGS = (
    ("strict", 0.1, 0.0, False),
    ("loose", 0.6, 0.8, False),
    ("by_class", 0.2, 0.3, True),
    ("none", 0.5, 2.0, False),
)


@pytest.mark.parametrize(("name", "iou", "score", "per_class"), SETTINGS)
def test_boxes_that_overlap_a_better_one_are_suppressed(found, name, iou, score, per_class):
    newer, answers = found
    for image in range(BATCH):
        threshold = -np.inf if newer else score
        kept = survivors(BOXES[image], SCORES[image], iou, threshold, per_class)
        # Core ML answers with the best box where none reaches the threshold.
        kept = kept or [int(SCORES[image].max(1).argmax())]
        missing = LIMIT - len(kept)
        assert answers[f"{name}_2"][image].tolist() == kept + [-1] * missing
        boxes, scores = (answers[f"{name}_{index}"][image] for index in (0, 1))
        boxes, scores = (boxes.T, scores.T) if newer else (boxes, scores)
        np.testing.assert_array_equal(boxes[: len(kept)], BOXES[image][kept])
        np.testing.assert_array_equal(scores[: len(kept)], SCORES[image][kept])
        assert not boxes[len(kept) :].any()
        if not newer:
            assert answers[f"{name}_3"][image] == len(kept)


def test_the_settings_suppress_some_boxes_and_not_others():
    counts = [len(survivors(BOXES[0], SCORES[0], *rest)) for _, *rest in SETTINGS[:3]]
    assert len(set(counts)) == 3
    assert all(1 < count < COUNT for count in counts)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_numbers_are_quantised_and_dequantised(convert, dtype):
    limits = np.iinfo(dtype)
    points = np.array([3, 0, 7], dtype)

    def build(mb, variables):
        x = variables["x"]
        each = mb.quantize(input=x, scale=SCALES, zero_point=points, axis=1, output_dtype=dtype)
        every = mb.quantize(input=x, scale=np.float32(0.02), output_dtype=dtype)
        yield mb.cast(x=each, dtype="int32", name="each")
        yield mb.cast(x=every, dtype="int32", name="every")
        yield mb.dequantize(input=each, scale=SCALES, zero_point=points, axis=1, name="back")
        yield mb.dequantize(input=every, scale=np.float32(0.02), name="back_every")

    answers = MilProgram.load(convert({"x": IMAGE}, build)).run({"x": IMAGE})
    scales, offsets = SCALES[:, None], points.astype(np.int32)[:, None]
    each = np.clip(np.rint(IMAGE / scales) + offsets, limits.min, limits.max)
    every = np.clip(np.rint(IMAGE / np.float32(0.02)), limits.min, limits.max)
    np.testing.assert_array_equal(answers["each"], each)
    np.testing.assert_array_equal(answers["every"], every)
    np.testing.assert_allclose(answers["back"], scales * (each - offsets), rtol=1e-6)
    np.testing.assert_allclose(answers["back_every"], np.float32(0.02) * every, rtol=1e-6)
    assert (each == limits.max).any()
