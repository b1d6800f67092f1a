"""A slide attention of this project from a class of another one, proved against that class.

One road: a candidate, the ways it can be read, from its shapes and then from its traced program,
and the proof. The layer itself decides, by what it answers in float64.
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
from slide_deploy.foreign.calls import AttentionCall, find_call
from slide_deploy.foreign.candidates import AttentionCandidate, kernel_sizes, widths
from slide_deploy.foreign.from_shapes import odd_geometry, read_shapes
from slide_deploy.foreign.from_trace import read_trace
from slide_deploy.foreign.hosted import HOOKS
from slide_deploy.foreign.parts import branches_of, others_of
from slide_deploy.foreign.program import AttentionProgram
from slide_deploy.foreign.proof import ReadingProof, in_float64
from slide_deploy.foreign.readings import Reading
from slide_deploy.models.slide_attention import SlideAttentionBase


@dataclass(frozen=True)
class Recognised:
    """A layer of another project and the slide attention that it is.

    Attributes:
        name: of the layer in the model.
        reading: the attention, folded, in the layout of the layer; it answers as the layer does.
        call: how the layer is called.
        proof: what the layer itself answers.
    """

    name: str
    reading: Reading
    call: AttentionCall
    proof: ReadingProof

    def difference(self, other: SlideAttentionBase) -> float:
        """How far an attention is from the layer's own ``forward``.

        Args:
            other: in any type.

        Returns:
            The largest difference in float64 on random maps with an interior and every border;
            absolute, or over the largest output where that exceeds 1.
        """
        return self.proof.differences(copy.deepcopy(other).cpu().double())[0]


@dataclass(frozen=True)
class LeftLayer:
    """A layer that looks like a slide attention and stays as it is.

    Args:
        name: module name in the model.
        kind: name of its class.
        reason: why it stays, as a clause.
    """

    name: str
    kind: str
    reason: str


def recognise(
    model: nn.Module, candidate: AttentionCandidate, limit: float
) -> Recognised | LeftLayer | None:
    """Read a slide attention from a layer and prove that it answers as the layer does.

    Args:
        model: in evaluation mode; left as it is.
        candidate: one of its layers.
        limit: the largest difference that counts as agreement, as ``Recognised.difference`` has it.

    Returns:
        The attention; or why the layer stays as it is; or nothing, where it is none at all.

    Raises:
        InputError: if a slide attention answers NaN or infinity.
    """
    first: LeftLayer | None = None
    for name in candidate.names:
        layer = model.get_submodule(name)
        attempt = _Attempt(layer, name, limit)
        try:
            return attempt.recognised()
        except _UnprovedError as error:
            attempt.refuse_what_is_no_number(candidate.certain)
            if candidate.certain or attempt.alike:
                first = first or LeftLayer(name, type(layer).__name__, str(error))
            if attempt.alike:
                break
    return first


class _UnprovedError(Exception):
    """A layer stays as it is; the text is a clause that says why."""


class _Attempt:
    """Tries to recognise one layer.

    Attributes:
        alike: whether it computes something like a slide attention, proved or not.
        unread: why its program could not be read, as a clause; empty where it could.
    """

    def __init__(self, layer: nn.Module, name: str, limit: float) -> None:
        self.original, self.name, self.limit = layer, name, limit
        self.layer = _exact(_without_hooks(copied(layer)))
        self.branches = branches_of(layer)
        self.proof: ReadingProof | None = None
        self.alike = False
        self.unread = ""

    def recognised(self) -> Recognised:
        """The attention.

        Raises:
            _UnprovedError: if it is none, or nothing shows that it is one.
        """
        call, channels = self._call()
        try:
            self.proof = ReadingProof(self.layer, call, channels, max(kernel_sizes(self.layer)))
        except Exception as error:  # any class of another project, any error
            raise _UnprovedError(f"it fails on random maps ({_text(error)})") from error
        closest, where = math.inf, ""
        for reading in self._readings(call, channels):
            everywhere, interior = self.proof.differences(reading.folded)
            if everywhere <= self.limit:
                if not reading.added:
                    names = ", ".join(reading.branches) or "none"
                    raise _UnprovedError(
                        f"it has one branch only ({names}), so that nothing is to be added"
                    )
                _adopt_layout(reading.folded, call)
                return Recognised(self.name, reading, call, self.proof)
            if everywhere < closest:
                closest = everywhere
                where = ", at the borders of a map only" if interior <= self.limit else ""
        self._refuse_geometry()
        if closest == math.inf:
            raise _UnprovedError(f"it cannot be read as a slide attention: {self.unread}")
        others = others_of(self.original)
        besides = f" (it also has {', '.join(others[:3])})" if others else ""
        raise _UnprovedError(
            f"it has the parts of a slide attention and computes something else{besides}: with its "
            f"weights a slide attention answers up to {closest:.1e} apart{where}, which is more "
            f"than {self.limit:.0e}{f'; {self.unread}' if self.unread else ''}"
        )

    def refuse_what_is_no_number(self, certain: bool) -> None:
        """Refuse a slide attention whose weights are NaN or infinity.

        Raises:
            InputError: if it is one.
        """
        if (certain or self.alike) and self.proof is not None and not self.proof.finite:
            raise InputError(
                f"{self.name or 'The model'} ({type(self.original).__name__}) answers NaN or "
                f"infinity, in float64 too, so that its fold cannot be proved: use another "
                f"checkpoint."
            )

    def _call(self) -> tuple[AttentionCall, int]:
        """How to call the layer, and its channels."""
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
            raise _UnprovedError(f"it has branches of slide attention ({names}) and no projections")
        raise _UnprovedError(
            f"it could not be called to prove its fold ({reason}): only a layer whose forward "
            f"takes maps, or tokens and their height and width, can be folded"
        )

    def _readings(self, call: AttentionCall, channels: int) -> Iterator[Reading]:
        """What the layer may be, by its shapes first and then by its program."""
        for reading in read_shapes(self.layer, channels):
            self.alike = True
            yield reading
        sides = kernel_sizes(self.layer)
        # Large enough for an impulse in the middle to end before the borders.
        size = call.sizes(2 * max(sides) - 1, channels)[0]
        try:
            program = AttentionProgram(self.layer, call, channels, size)
        except Exception as error:  # any class of another project, any error
            self.unread = f"it could not be traced ({_text(error)})"
            return
        for side in sides:
            try:
                anchors = find_anchors(program, side)
                self.alike = True
                yield from read_trace(program, anchors, side)
            except UnreadableError as error:
                self.alike = self.alike or error.alike
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


def _exact(layer: nn.Module) -> nn.Module:
    """In float64, on the CPU; tensors that are neither parameters nor buffers, too."""
    for module in layer.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                vars(module)[name] = value.to(
                    "cpu", torch.float64 if value.is_floating_point() else None
                )
    return layer.cpu().double().eval()


def _without_hooks(layer: nn.Module) -> nn.Module:
    """Without hooks of the whole layer, which stay with what takes its place."""
    for field in HOOKS:
        getattr(layer, field).clear()
    return layer
