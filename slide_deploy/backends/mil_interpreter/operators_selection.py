"""Operators that sort or select elements by their values."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

_INDEX_TYPES = ("int32", "uint16")


def argsort(call: OperatorCall) -> Tensor:
    """The indices that sort the elements along an axis, by default in descending order."""
    return _sorted(call)[1]


def topk(call: OperatorCall) -> list[Tensor]:
    """The first ``k`` sorted elements along an axis, and their indices; -1 takes all."""
    values, indices = _sorted(call)
    axis, k = call.axis("axis", values.dim(), -1), call.integer("k", 1)
    count = values.shape[axis] if k == -1 else k
    if not 0 <= count <= values.shape[axis]:
        raise call.faulty(f"takes {k} of {values.shape[axis]} elements")
    if call.text("output_indices_dtype", _INDEX_TYPES[0]) not in _INDEX_TYPES:
        raise call.unsupported(f"output_indices_dtype {call.text('output_indices_dtype')}")
    chosen = [values.narrow(axis, 0, count), indices.narrow(axis, 0, count)]
    return chosen if not call.has("return_indices") or call.flag("return_indices") else chosen[:1]


def non_zero(call: OperatorCall) -> Tensor:
    """The coordinates of the elements that are not zero, shape (elements, rank)."""
    return call.tensor("x").nonzero()


def one_hot(call: OperatorCall) -> Tensor:
    """A new axis that is ``on_value`` at the index and ``off_value`` elsewhere."""
    indices, size = call.tensor("indices"), call.integer("one_hot_vector_size")
    axis = call.axis("axis", indices.dim() + 1, -1)
    if size < 0:
        raise call.faulty(f"makes vectors of {size} elements")
    call.check_size((*indices.shape, size))
    hit = (indices.unsqueeze(-1) == torch.arange(size)).movedim(-1, axis)
    on = call.tensor("on_value") if call.has("on_value") else torch.tensor(1)
    off = call.tensor("off_value") if call.has("off_value") else torch.tensor(0)
    return torch.where(hit, on.reshape(()), off.reshape(()))


def non_maximum_suppression(call: OperatorCall) -> list[Tensor]:
    """Boxes in descending order of their score, without those that overlap a better one.

    Since iOS 17: boxes (batch, 4, B), scores (batch, class, B). Before: boxes (batch, B, 4), scores
    (batch, B, class), and a fourth result that counts the chosen boxes. A box is its centre, width
    and height; its score is that of its best class. Results are filled up to ``max_boxes`` with
    zeros, and with -1 as index.
    """
    boxes, scores = call.tensor("boxes"), call.tensor("scores")
    if boxes.dim() != 3 or scores.dim() != 3:
        raise call.faulty("needs boxes and scores of rank 3")
    last = not call.has("score_threshold")  # the boxes are the last axis
    if last:
        boxes, scores = boxes.mT, scores.mT
    limit = call.integer("max_boxes")
    if (
        limit < 1
        or boxes.shape[-1] != 4
        or boxes.shape[:2] != scores.shape[:2]
        or not scores.numel()
    ):
        raise call.faulty(f"chooses {limit} of boxes {tuple(boxes.shape)}, {tuple(scores.shape)}")
    call.check_size((boxes.shape[0], limit, max(4, scores.shape[-1])))
    indices = torch.full((boxes.shape[0], limit), -1)
    chosen_boxes = torch.zeros(boxes.shape[0], limit, 4)
    chosen_scores = torch.zeros(boxes.shape[0], limit, scores.shape[-1])
    counts = torch.zeros(boxes.shape[0], dtype=torch.int32)
    for batch in range(boxes.shape[0]):
        kept = _survivors(call, boxes[batch], scores[batch])[:limit]
        counts[batch] = len(kept)
        indices[batch, : len(kept)] = torch.tensor(kept)
        chosen_boxes[batch, : len(kept)] = boxes[batch, kept]
        chosen_scores[batch, : len(kept)] = scores[batch, kept]
    if last:
        return [chosen_boxes.mT, chosen_scores.mT, indices]
    return [chosen_boxes, chosen_scores, indices, counts]


def _survivors(call: OperatorCall, boxes: Tensor, scores: Tensor) -> list[int]:
    """Return the indices of the boxes (B, 4) that survive, best first; scores (B, class)."""
    best, classes = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    if call.has("score_threshold"):
        # If no box reaches the threshold, Core ML returns the best box.
        order = torch.cat([order[:1], order[1:][best[order[1:]] >= call.number("score_threshold")]])
    limit, threshold = call.integer("max_boxes"), call.number("iou_threshold")
    kept: list[int] = []
    while len(order) and len(kept) < limit:
        first, order = order[0], order[1:]
        kept.append(int(first))
        suppressed = _overlap(boxes[first], boxes[order]) > threshold
        if call.flag("per_class_suppression"):
            suppressed &= classes[order] == classes[first]
        order = order[~suppressed]
    return kept


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of one box (4,) with others (B, 4), shape (B,)."""
    low = torch.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = torch.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / (box[2:].prod() + others[:, 2:].prod(-1) - shared)


def _sorted(call: OperatorCall) -> tuple[Tensor, Tensor]:
    """Return the elements and their indices, sorted stably along an axis."""
    x = call.tensor("x")
    axis = call.axis("axis", x.dim(), -1)
    values, indices = torch.sort(x, dim=axis, descending=not call.flag("ascending"), stable=True)
    return values, indices


OPERATORS: Operators = {
    "argsort": Operator(argsort, ("x",), ("axis", "ascending")),
    "non_maximum_suppression": Operator(
        non_maximum_suppression,
        ("boxes", "scores", "iou_threshold", "max_boxes"),
        ("score_threshold", "per_class_suppression"),
    ),
    "non_zero": Operator(non_zero, ("x",)),
    "one_hot": Operator(
        one_hot, ("indices", "one_hot_vector_size"), ("axis", "on_value", "off_value")
    ),
    "topk": Operator(
        topk,
        ("x",),
        ("k", "axis", "ascending", "sort", "return_indices", "output_indices_dtype"),
    ),
}
