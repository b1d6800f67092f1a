"""Fold a whole model: a branched model becomes a folded copy with a certificate."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from slide_deploy.errors import InputError
from slide_deploy.folding import formulas
from slide_deploy.folding.layer import fold_layer
from slide_deploy.folding.surgery import replace_module, unwrapped
from slide_deploy.foreign import (
    HostedAttention,
    LeftLayer,
    Reading,
    Recognised,
    find_candidates,
    recognise,
)
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionBase,
)
from slide_deploy.passes.report import Change, PassReport, Refusal
from slide_deploy.process.torch_defaults import torch_defaults

# Folding is exact, so float64 leaves a relative error of 1e-14. An attention that differs by a
# thousand times that is another function.
LARGEST_ERROR = 1e-11

# The pass that merges branches.
BRANCHES = "parallel_branches"


@dataclass(frozen=True)
class FoldedLayer:
    """The record of one folded slide attention.

    Attributes:
        name: module name in the model.
        kernel_size: side of the neighbourhood.
        num_heads: number of heads.
        head_dim: features per head.
        branches: names of the convolutions that were added.
        key_kernel: shape of the folded key convolution, (C * K, 1, k, k).
        error: largest difference between the trained layer's own ``forward`` and the folded
            attention, both in float64, on random feature maps with borders; divided by the largest
            output if that exceeds 1.
        rounding: the same after rounding the folded weights to the model's own type.
        shift_distance: largest difference between the shift branch's kernel and a pure shift;
            None if it is not a convolution of its own.
        shift_bias: largest absolute bias of the shift branch; None likewise.
        position_bias: largest absolute value of the bias table folded into the keys, 0 without a
            table; None if a table cannot be told apart from other biases.
        scale: factor folded into the keys; None if it cannot be told apart from the weights.
    """

    name: str
    kernel_size: int
    num_heads: int
    head_dim: int
    branches: tuple[str, ...]
    key_kernel: tuple[int, ...]
    error: float
    rounding: float
    shift_distance: float | None
    shift_bias: float | None
    position_bias: float | None
    scale: float | None


@dataclass(frozen=True)
class Certificate:
    """The report of a fold.

    Attributes:
        folded: the folded layers, in the model's order.
        already_folded: names of layers that had been folded before.
        left: layers of other classes that look like a slide attention and are left unchanged, in
            the model's order, each with its reason.
        merged: sums and chains of convolutions merged into one convolution each in the traced
            network, in its order; see ``slide_deploy.passes.parallel_branches``.
        not_merged: similar places that are left unchanged, each with its reason.
    """

    folded: tuple[FoldedLayer, ...]
    already_folded: tuple[str, ...]
    left: tuple[LeftLayer, ...] = ()
    merged: tuple[Change, ...] = ()
    not_merged: tuple[Refusal, ...] = ()

    @property
    def error(self) -> float:
        """Largest error of any layer, in float64."""
        merged = (change.error or 0.0 for change in self.merged)
        return max((*(layer.error for layer in self.folded), *merged), default=0.0)

    @property
    def status(self) -> str:
        """The result: "folded", "already folded", "nothing to fold", or counts.

        Layers are counted if some were left or branches were merged: "2 folded, 1 left" or
        "1 folded, 12 merged".
        """
        if not self.left and not self.merged:
            if self.folded:
                return "folded"
            return "already folded" if self.already_folded else "nothing to fold"
        counts = (
            (len(self.folded), "folded"),
            (len(self.already_folded), "already folded"),
            (len(self.left), "left"),
            (len(self.merged), "merged"),
        )
        return ", ".join(f"{count} {what}" for count, what in counts if count)


def with_branches(certificate: Certificate, reports: Iterable[PassReport]) -> Certificate:
    """Add the branches that a pass merged in the traced network to a certificate.

    Args:
        certificate: certificate of the slide attentions.
        reports: reports of all passes that ran.
    """
    found = [report for report in reports if report.name == BRANCHES]
    return replace(
        certificate,
        merged=tuple(change for report in found for change in report.changes),
        not_merged=tuple(refusal for report in found for refusal in report.refusals),
    )


@torch_defaults()
def reparameterize(model: nn.Module, share_weights: bool = False) -> tuple[nn.Module, Certificate]:
    """Fold every slide attention of a model.

    Args:
        model: any module in evaluation mode with ``SlideAttention`` layers, or layers of other
            classes that compute the same. It may contain the wrappers that ``unwrapped`` removes.
            It is not changed.
        share_weights: use the model's own tensors in the copy wherever they do not change. This
            avoids doubling the memory of a large network; then neither model may be changed.

    Returns:
        A folded copy without wrappers, and the certificate. A layer of another class that looks
        like a slide attention but is not proved to be one is left unchanged, and the certificate
        gives the reason.

    Raises:
        InputError: if a layer is in training mode or has no values, if the branches of a
            ``SlideAttention`` differ in geometry, or if weights are NaN or infinite or overflow.
    """
    _refuse_without_values(model)
    folded_model = unwrapped(model, share_weights)
    for name, module in folded_model.named_modules():
        if module.training:
            raise InputError(
                f"{name or 'The model'} is in training mode: call .eval() before folding."
            )
    return _folded(folded_model)


def _refuse_without_values(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(f"{name} has no shape yet: call the model once before folding.")
        if tensor.is_meta:
            raise InputError(
                f"{name} is on the meta device and has no values: load weights before folding."
            )


def _folded(model: nn.Module) -> tuple[nn.Module, Certificate]:
    """Fold a model in place."""
    found, left = _recognise_all(model)
    modules = list(model.named_modules(remove_duplicate=False))
    layers: list[FoldedLayer] = []
    already: list[str] = []
    replaced: dict[int, nn.Module] = {}
    for name, module in modules:
        if isinstance(module, FoldedSlideAttention):
            already.append(name)
        elif id(module) in found or (isinstance(module, SlideAttention) and id(module) not in left):
            if id(module) not in replaced:
                if id(module) in found:
                    replaced[id(module)], layer = _hosted(module, found[id(module)])
                else:
                    replaced[id(module)], layer = fold_attention(module, name)
                layers.append(layer)
            model = replace_module(model, name, replaced[id(module)])
    return model, Certificate(tuple(layers), tuple(already), tuple(left.values()))


def _recognise_all(model: nn.Module) -> tuple[dict[int, Recognised], dict[int, LeftLayer]]:
    """Return slide attentions of other classes, and layers left unchanged, by ``id``."""
    found: dict[int, Recognised] = {}
    left: dict[int, LeftLayer] = {}
    seen: set[int] = set()
    for candidate in find_candidates(model):
        innermost = id(model.get_submodule(candidate.names[0]))
        if innermost in seen:  # a shared layer, or part of another candidate's attention
            continue
        seen.add(innermost)
        match recognise(model, candidate, LARGEST_ERROR):
            case Recognised() as recognised:
                layer = model.get_submodule(recognised.name)
                found[id(layer)] = recognised
                seen |= {id(module) for module in layer.modules()}
            case LeftLayer() as kept:
                left[id(model.get_submodule(kept.name))] = kept
    order = {id(module): index for index, module in enumerate(model.modules())}
    inside = {
        id(module)
        for recognised in found.values()
        for module in model.get_submodule(recognised.name).modules()
    }
    outside = sorted((each for each in left if each not in inside), key=order.__getitem__)
    return found, {each: left[each] for each in outside}


def fold_attention(
    branched: SlideAttention, name: str = "attention"
) -> tuple[FoldedSlideAttention, FoldedLayer]:
    """Fold one attention.

    Args:
        branched: the trained layer.
        name: name of the layer in errors and in the certificate.

    Returns:
        The folded layer, of the same type and on the same device, and its line of the certificate.

    Raises:
        InputError: if its branches differ in geometry, or its weights overflow.
    """
    for branch_name, branch in _deformed_branches(branched):
        for field in formulas.GEOMETRY:
            value, other = getattr(branched.dep_conv, field), getattr(branch, field)
            if value != other:
                raise InputError(
                    f"{name}: dep_conv has {field} {value} and {branch_name} has {other}; only "
                    f"branches of one geometry can be folded."
                )
    reading = Reading(
        fold_layer(branched),
        ("dep_conv", *(branch for branch, _ in _deformed_branches(branched))),
        added=True,
        shift_distance=formulas.distance_from_shift(
            branched.dep_conv.weight, branched.config.kernel_size
        ),
        shift_bias=formulas.largest(branched.dep_conv.bias),
        position_bias=formulas.largest(branched.relative_position_bias_table),
        scale=branched.config.scale,
    )
    return _rounded(reading, name, partial(_difference, branched), branched.qkv.weight)


def _hosted(layer: nn.Module, found: Recognised) -> tuple[nn.Module, FoldedLayer]:
    """Return the replacement of a layer of another project, and its line of the certificate.

    Raises:
        InputError: if its weights overflow.
    """
    like = next(
        tensor for tensor in (*layer.parameters(), *layer.buffers()) if tensor.is_floating_point()
    )
    folded, line = _rounded(found.reading, found.name, found.difference, like)
    return HostedAttention(folded, found.call, layer).eval(), line


def _rounded(
    reading: Reading,
    name: str,
    difference: Callable[[SlideAttentionBase], float],
    like: Tensor,
) -> tuple[FoldedSlideAttention, FoldedLayer]:
    """Round a folded attention to the type of a tensor, and return it with its line.

    Args:
        reading: the attention in float64.
        name: name of the layer.
        difference: returns the difference of an attention from the trained layer, in float64.
        like: tensor of the type and on the device that the result has.

    Raises:
        InputError: if the weights overflow, or if the attention differs by more than
            ``LARGEST_ERROR``.
    """
    exact = reading.folded
    rounded = copy.deepcopy(exact).to(like)
    error, rounding = difference(exact), difference(rounded)
    if not rounding < math.inf:
        raise InputError(
            f"{name}: folded and branched attention differ by {error:.1e}, rounded by "
            f"{rounding:.1e}; its weights overflow: use another checkpoint."
        )
    if not error <= LARGEST_ERROR:
        raise InputError(
            f"{name}: folded and branched attention differ by {error:.1e}, which is more than "
            f"{LARGEST_ERROR:.0e}: its forward or a hook computes something else than its settings."
        )
    config = exact.config
    return rounded, FoldedLayer(
        name=name,
        kernel_size=config.kernel_size,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        branches=reading.branches,
        key_kernel=tuple(exact.key_conv.weight.shape),
        error=error,
        rounding=rounding,
        shift_distance=reading.shift_distance,
        shift_bias=reading.shift_bias,
        position_bias=reading.position_bias,
        scale=reading.scale,
    )


def _deformed_branches(branched: SlideAttention) -> Iterator[tuple[str, nn.Conv2d]]:
    yield "dep_conv1", branched.dep_conv1
    if branched.dep_conv2 is not None:
        yield "dep_conv2", branched.dep_conv2


@torch.no_grad()
def _difference(branched: SlideAttention, folded: FoldedSlideAttention) -> float:
    """Return the largest difference in float64, on a random input with an interior and borders.

    It is divided by the largest output if that exceeds 1.
    """
    config = branched.config
    height, width = config.kernel_size + 4, config.kernel_size + 1
    generator = torch.Generator().manual_seed(0)
    nchw = torch.randn(2, config.dim, height, width, dtype=torch.float64, generator=generator)
    outputs = []
    for form in (branched, folded):
        form = copy.deepcopy(form).cpu().double()
        x = nchw if form.layout == "nchw" else nchw.flatten(2).transpose(1, 2)
        # The module is called, because hooks and parametrizations are part of what it computes.
        output = form(x, (height, width))
        outputs.append(output[0] if form.layout == "nchw" else output)
    return formulas.difference(outputs[1], outputs[0])
