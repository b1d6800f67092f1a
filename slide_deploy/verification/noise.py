"""Measure how much noise each layer of a quantised file adds, against the network in float64.

    SNR of a layer  =  10 log10(energy of its output in the network / energy of the difference)
    share           =  1 - (noise / signal of its input) / (noise / signal of its output)

The input and the output of a layer are found in the file by content, as in ``divergence``: the
closest value of the same size counts. The share is the part of the output's noise that arose in the
layer. The rest came with its input. Noise that a layer amplifies more than its signal counts as its
own.
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
        layer: name of the layer.
        snr_db: signal-to-noise ratio of its output in dB; None if no value of the file is close to
            it, for example because a pass merged it with the next layer.
        reads_db: the same of its input; infinite if exact, None if it is not found.
        arose: share of the noise that arose in the layer, 0 to 1; None if unknown.
        is_container: whether it consists of other listed layers.
    """

    layer: str
    snr_db: float | None
    reads_db: float | None
    arose: float | None
    is_container: bool

    @property
    def own(self) -> float:
        """The noise that arose in the layer, relative to the signal of its output."""
        return (self.arose or 0.0) * _relative(self.snr_db)


def noise_by_layer(
    layers: Sequence[LayerOutput], values: Mapping[str, np.ndarray], least_db: float
) -> tuple[LayerNoise, ...]:
    """Measure the noise of every layer, in the order of execution.

    Args:
        layers: outputs of the network's layers for one image.
        values: every value of the file for the same image, and the image itself, by name.
        least_db: ratio in dB from which a value of the file counts as a layer's.
    """
    by_size: dict[int, list[np.ndarray]] = {}
    for value in values.values():
        by_size.setdefault(value.size, []).append(value.astype(np.float64).ravel())

    def ratio(*forms: np.ndarray) -> float | None:
        ratios = (_nearest(form, by_size.get(form.size, [])) for form in forms)
        best = max(ratios, default=-math.inf)
        return best if best >= least_db else None

    outputs = [ratio(layer.value, *layer.alternatives) for layer in layers]
    found = []
    for layer, output in zip(layers, outputs, strict=True):
        if layer.source is not None:
            reads = outputs[layer.source]
        else:
            reads = None if layer.reads is None else ratio(layer.reads)
        arose = _arose(reads, output)
        found.append(LayerNoise(layer.name, output, reads, arose, layer.is_container))
    return tuple(found)


def worst_first(noise: Sequence[LayerNoise]) -> list[LayerNoise]:
    """Sort the layers in which noise arose, the noisiest first, without containers."""
    known = [each for each in noise if each.arose is not None and not each.is_container]
    return sorted(known, key=lambda each: -each.own)


def _nearest(wanted: np.ndarray, candidates: Sequence[np.ndarray]) -> float:
    """The signal-to-noise ratio of the closest candidate in dB; -inf if there is none."""
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
    """Convert a ratio in dB to noise over signal."""
    return 0.0 if ratio is None else 10 ** (-ratio / 10)


def _arose(reads: float | None, outputs: float | None) -> float | None:
    if reads is None or outputs is None:
        return None
    after = _relative(outputs)
    return max(0.0, 1 - _relative(reads) / after) if after else 0.0
