"""Turn a layer of another project into a slide attention of this one, and prove that they agree.

A candidate is read from its shapes first, then from its traced program. The first reading whose
outputs equal the layer's own in float64 is taken.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.folding.surgery import copied
from slide_deploy.foreign.anchors import UnreadableError, find_anchors
from slide_deploy.foreign.calls import AttentionCall, CutLayer, find_call
from slide_deploy.foreign.candidates import AttentionCandidate, kernel_sizes, widths
from slide_deploy.foreign.from_shapes import odd_geometry, read_shapes
from slide_deploy.foreign.from_trace import read_trace
from slide_deploy.foreign.hosted import HOOKS
from slide_deploy.foreign.parts import branches_of, others_of
from slide_deploy.foreign.program import AttentionProgram
from slide_deploy.foreign.proof import Reading, ReadingProof, in_float64
from slide_deploy.models.slide_attention import SlideAttentionBase


@dataclass(frozen=True)
class Recognised:
    """A layer of another project and the folded slide attention that equals it.

    Attributes:
        name: name of the layer in the model.
        reading: the proved reading. Its attention has the layout of the layer.
        call: how the layer is called.
        proof: the layer's own outputs.
    """

    name: str
    reading: Reading
    call: AttentionCall
    proof: ReadingProof

    def difference(self, other: SlideAttentionBase) -> float:
        """Compare an attention with the layer's own ``forward``.

        Args:
            other: attention in any floating-point type.

        Returns:
            The largest difference in float64 on random inputs, divided by the largest output if
            that exceeds 1.
        """
        return self.proof.differences(copy.deepcopy(other).cpu().double())[0]


@dataclass(frozen=True)
class LeftLayer:
    """A layer that looks like a slide attention and is left unchanged.

    Attributes:
        name: module name in the model.
        kind: name of its class.
        reason: why it is left unchanged, as a clause.
    """

    name: str
    kind: str
    reason: str


def recognise(
    model: nn.Module, candidate: AttentionCandidate, limit: float
) -> Recognised | LeftLayer | None:
    """Read a slide attention from a layer and prove that its outputs equal the layer's.

    Args:
        model: model in evaluation mode. It is not changed.
        candidate: one of its layers.
        limit: largest difference that counts as agreement, measured as ``Recognised.difference``.

    Returns:
        The proved attention; or the layer and the reason why it is left unchanged; or None if the
        layer is no slide attention at all.

    Raises:
        InputError: if a slide attention outputs NaN or infinity.
    """
    first: LeftLayer | None = None
    for name in candidate.names:
        layer = model.get_submodule(name)
        attempt = _Attempt(layer, name, limit)
        try:
            return attempt.recognised()
        except _UnprovedError as error:
            attempt.refuse_nonfinite(candidate.certain)
            if candidate.certain or attempt.similar:
                first = first or LeftLayer(name, type(layer).__name__, str(error))
            if attempt.similar:
                break
    return first


class _UnprovedError(Exception):
    """A layer is left unchanged. The message is a clause that gives the reason."""


class _Attempt:
    """An attempt to recognise one layer.

    Attributes:
        similar: whether the layer resembles a slide attention, proved or not.
        unread: why its program could not be read, as a clause; empty if it could.
    """

    def __init__(self, layer: nn.Module, name: str, limit: float) -> None:
        self.original, self.name, self.limit = layer, name, limit
        self.layer = _to_float64(_without_hooks(copied(layer)))
        self.branches = branches_of(layer)
        self.proof: ReadingProof | None = None
        self.similar = False
        self.unread = ""

    def recognised(self) -> Recognised:
        """Return the proved attention.

        Raises:
            _UnprovedError: if no reading of the layer can be proved.
        """
        call, channels = self._call()
        try:
            self.proof = ReadingProof(self.layer, call, channels, max(kernel_sizes(self.layer)))
        except Exception as error:  # any class of another project, any error
            raise _UnprovedError(f"it fails on random inputs ({_text(error)})") from error
        closest, where = math.inf, ""
        for reading in self._readings(call, channels):
            everywhere, interior = self.proof.differences(reading.folded)
            if everywhere <= self.limit:
                if not reading.added:
                    names = ", ".join(reading.branches) or "none"
                    raise _UnprovedError(
                        f"it has only one branch ({names}), so there is nothing to fold"
                    )
                _adopt_layout(reading.folded, call)
                return Recognised(self.name, reading, call, self.proof)
            if everywhere < closest:
                closest = everywhere
                where = " (at the borders only)" if interior <= self.limit else ""
        self._refuse_geometry()
        if closest == math.inf:
            raise _UnprovedError(f"it cannot be read as a slide attention: {self.unread}")
        others = others_of(self.original)
        besides = f" (it also has {', '.join(others[:3])})" if others else ""
        raise _UnprovedError(
            f"it has the parts of a slide attention but computes something else{besides}: the "
            f"outputs of a slide attention with its weights differ by up to {closest:.1e}{where}, "
            f"which is more than {self.limit:.0e}{f'; {self.unread}' if self.unread else ''}"
        )

    def refuse_nonfinite(self, certain: bool) -> None:
        """Refuse a slide attention whose outputs are not finite.

        Raises:
            InputError: if the layer is or resembles a slide attention and outputs NaN or infinity.
        """
        if (certain or self.similar) and self.proof is not None and not self.proof.finite:
            raise InputError(
                f"{self.name or 'The model'} ({type(self.original).__name__}) outputs NaN or "
                f"infinity even in float64, so its fold cannot be proved: use another checkpoint."
            )

    def _call(self) -> tuple[AttentionCall, int]:
        """Find how the layer is called, and its number of channels."""
        if isinstance(self.layer, CutLayer):
            return self.layer.call, self.layer.channels
        reason = ""
        side = max(kernel_sizes(self.layer))
        for channels in widths(self.layer):
            try:
                with in_float64():
                    return find_call(self.layer, channels, side), channels
            except TypeError as error:
                reason = reason or str(error)
        self._refuse_geometry()
        if not reason:
            names = ", ".join(branch.name for branch in self.branches)
            raise _UnprovedError(f"it has slide attention branches ({names}) but no projections")
        raise _UnprovedError(
            f"it could not be called to prove its fold ({reason}): its forward must take feature "
            f"maps, or tokens with their height and width"
        )

    def _readings(self, call: AttentionCall, channels: int) -> Iterator[Reading]:
        """Yield readings of the layer, by its shapes first and then by its program."""
        for reading in read_shapes(self.layer, channels):
            self.similar = True
            yield reading
        sides = kernel_sizes(self.layer)
        # Large enough that the response to an impulse in the middle does not reach the borders.
        size = call.sizes(2 * max(sides) - 1, channels)[0]
        try:
            program = AttentionProgram(self.layer, call, channels, size)
        except Exception as error:  # any class of another project, any error
            self.unread = f"it could not be traced ({_text(error)})"
            return
        for side in sides:
            try:
                anchors = find_anchors(program, side)
                self.similar = True
                yield from read_trace(program, anchors, side)
            except UnreadableError as error:
                self.similar = self.similar or error.has_softmax
                reason = str(error)
            except Exception as error:  # any operator, any error
                reason = _text(error)
            else:
                continue
            self.unread = self.unread or reason

    def _refuse_geometry(self) -> None:
        reason = odd_geometry(self.branches) if len(self.branches) > 1 else None
        if reason is not None:
            raise _UnprovedError(reason)


def _text(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


def _adopt_layout(attention: SlideAttentionBase, call: AttentionCall) -> None:
    attention.layout = "nchw" if call.layout == "nchw" else "tokens"
    attention.resolution = call.bound


def _to_float64(layer: nn.Module) -> nn.Module:
    """Move a layer to float64 and the CPU, including tensors that are plain attributes."""
    for module in layer.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                vars(module)[name] = value.to(
                    "cpu", torch.float64 if value.is_floating_point() else None
                )
    return layer.cpu().double().eval()


def _without_hooks(layer: nn.Module) -> nn.Module:
    """Remove the layer's own hooks. ``HostedAttention`` keeps them on the replacement."""
    for field in HOOKS:
        getattr(layer, field).clear()
    return layer
