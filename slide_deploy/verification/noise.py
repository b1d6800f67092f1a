"""How much noise each layer of a quantised file adds, against the trained network in float64.

    SNR of a layer  =  10 log10(energy of what it answers in the network / energy of the difference)
    share           =  1 - (noise / signal of what it reads) / (noise / signal of what it answers)

A layer's answer, and what it reads, are found in the file by content, as ``locate`` does: the value
of that size that is nearest. The share says how much of the noise in a layer's answer arose in the
layer; the rest came with what it read. What a layer makes larger, in relation to its signal, counts
as its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.verification.divergence import LayerOutput, in_orders


@dataclass(frozen=True)
class LayerNoise:
    """The noise of one layer.

    Attributes:
        layer: its name.
        snr_db: of what it answers; None where no value of the file is near it, as where a pass
            merged it with the next layer.
        reads_db: of what it reads; infinite where that is exact, None where it is not found.
        arose: the share of the noise that arose in the layer, 0 to 1; None where that is not known.
        is_container: whether it is made of other layers that are listed.
    """

    layer: str
    snr_db: float | None
    reads_db: float | None
    arose: float | None
    is_container: bool

    @property
    def own(self) -> float:
        """The noise that arose in the layer, relative to the signal that it answers."""
        return (self.arose or 0.0) * _relative(self.snr_db)


def noise_by_layer(
    layers: Sequence[LayerOutput], values: Mapping[str, np.ndarray], least_db: float
) -> tuple[LayerNoise, ...]:
    """The noise of every layer, in the order of execution.

    Args:
        layers: outputs of the network, for one image.
        values: every value of the file for the same image, and the image itself, by name.
        least_db: ratio from which a value of the file counts as a layer's.
    """
    by_size: dict[int, list[np.ndarray]] = {}
    for value in values.values():
        by_size.setdefault(value.size, []).append(value.astype(np.float64).ravel())

    def ratio(*forms: np.ndarray) -> float | None:
        ratios = (_nearest(form, by_size.get(form.size, [])) for form in forms)
        best = max(ratios, default=-math.inf)
        return best if best >= least_db else None

    answers = [ratio(layer.value, *layer.otherwise) for layer in layers]
    found = []
    for layer, answer in zip(layers, answers, strict=True):
        if layer.source is not None:
            reads = answers[layer.source]
        else:
            reads = None if layer.reads is None else ratio(layer.reads)
        arose = _arose(reads, answer)
        found.append(LayerNoise(layer.name, answer, reads, arose, layer.is_container))
    return tuple(found)


def worst_first(noise: Sequence[LayerNoise]) -> list[LayerNoise]:
    """Layers in which noise arose, the noisiest first; those that are made of others left out."""
    known = [each for each in noise if each.arose is not None and not each.is_container]
    return sorted(known, key=lambda each: -each.own)


def _nearest(wanted: np.ndarray, candidates: Sequence[np.ndarray]) -> float:
    """The signal-to-noise ratio of the candidate that is nearest; -inf if there is none."""
    best = -math.inf
    for order in in_orders(wanted):
        signal = float((order**2).sum())
        for candidate in candidates:
            noise = float(((candidate - order) ** 2).sum())
            if noise == 0:
                return math.inf
            if signal and math.isfinite(noise):
                best = max(best, 10 * math.log10(signal / noise))
    return best


def _relative(ratio: float | None) -> float:
    """Noise over signal."""
    return 0.0 if ratio is None else 10 ** (-ratio / 10)


def _arose(reads: float | None, answers: float | None) -> float | None:
    if reads is None or answers is None:
        return None
    after = _relative(answers)
    return max(0.0, 1 - _relative(reads) / after) if after else 0.0
