"""Surgery of folding: a branched model in, a folded copy and its certificate out."""

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
from slide_deploy.folding.layer import folded_layer
from slide_deploy.folding.surgery import replace_module
from slide_deploy.folding.wrappers import unwrapped
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

# Folding is exact; float64 leaves 1e-14 of the largest output. What is a thousand times that off is
# not the same function.
LARGEST_ERROR = 1e-11

# The pass that puts branches together.
BRANCHES = "parallel_branches"


@dataclass(frozen=True)
class FoldedLayer:
    """What happened to one slide attention.

    Args:
        name: module name in the model.
        kernel_size: side of the neighbourhood.
        num_heads: heads.
        head_dim: features of a head.
        branches: convolutions that were added, by name.
        key_kernel: shape of the folded key convolution, (C * K, 1, k, k).
        error: largest difference between the trained layer's own ``forward`` and the folded
            attention, both in float64, on random maps with borders; absolute, or over the largest
            output where that exceeds 1.
        rounding: the same after the folded weights were rounded to the model's own type.
        shift_distance: largest difference between the shift branch's kernel and a pure shift;
            None where it is no convolution of its own.
        shift_bias: largest absolute bias of the shift branch; None the same.
        position_bias: largest absolute value of the bias table that went into the keys; 0 without;
            None where it cannot be told from other biases.
        scale: factor that went into the keys; None where it cannot be told from the weights.
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

    Args:
        folded: the layers that were folded, in the model's order.
        already_folded: names of layers that were folded before.
        left: layers of other classes that look like a slide attention and stay as they are, in
            the model's order, each with its reason.
        merged: sums and chains of convolutions that became one convolution each in the traced
            network, in its order; see ``slide_deploy.passes.parallel_branches``.
        not_merged: those that look alike and stay as they are, each with its reason.
    """

    folded: tuple[FoldedLayer, ...]
    already_folded: tuple[str, ...]
    left: tuple[LeftLayer, ...] = ()
    merged: tuple[Change, ...] = ()
    not_merged: tuple[Refusal, ...] = ()

    @property
    def error(self) -> float:
        """The largest error of any layer, in float64."""
        merged = (change.error or 0.0 for change in self.merged)
        return max((*(layer.error for layer in self.folded), *merged), default=0.0)

    @property
    def status(self) -> str:
        """What happened, such as "folded", "already folded", "nothing to fold", "2 folded, 1 left".

        Layers are counted where some of them were left, or branches were merged: "1 folded, 12
        merged".
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
    """A certificate with what passes over the traced network put together.

    Args:
        certificate: of the slide attentions.
        reports: of all passes that ran.
    """
    found = [report for report in reports if report.name == BRANCHES]
    return replace(
        certificate,
        merged=tuple(change for report in found for change in report.changes),
        not_merged=tuple(refusal for report in found for refusal in report.refusals),
    )


@torch_defaults()
def reparameterize(model: nn.Module) -> tuple[nn.Module, Certificate]:
    """Fold every slide attention of a model; the model itself is left as it is.

    Args:
        model: any module in evaluation mode that holds ``SlideAttention`` layers, or layers of
            other classes that compute the same. ``unwrapped`` says what may be around it and
            within it.

    Returns:
        A folded copy without wrappers, and the certificate. A layer of another class that looks
        like a slide attention and is not proved to be one is left as it is, and the certificate
        says why.

    Raises:
        InputError: if a layer is in training mode or has no values, if the branches of a
            ``SlideAttention`` differ in geometry, or if weights are NaN, infinity or overflow.
    """
    _refuse_what_has_no_values(model)
    folded_model = unwrapped(model)
    for name, module in folded_model.named_modules():
        if module.training:
            raise InputError(
                f"{name or 'The model'} is in training mode: call .eval() before folding."
            )
    return _folded(folded_model)


def _refuse_what_has_no_values(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(f"{name} has no shape yet: call the model once before folding.")
        if tensor.is_meta:
            raise InputError(
                f"{name} is on the meta device and has no values: load weights before folding."
            )


def _folded(model: nn.Module) -> tuple[nn.Module, Certificate]:
    """Fold a model in place."""
    found, stays = _recognise_all(model)
    modules = list(model.named_modules(remove_duplicate=False))
    layers: list[FoldedLayer] = []
    already: list[str] = []
    replaced: dict[int, nn.Module] = {}
    for name, module in modules:
        if isinstance(module, FoldedSlideAttention):
            already.append(name)
        elif id(module) in found or (
            isinstance(module, SlideAttention) and id(module) not in stays
        ):
            if id(module) not in replaced:
                if id(module) in found:
                    replaced[id(module)], layer = _host(module, found[id(module)])
                else:
                    replaced[id(module)], layer = fold_attention(module, name)
                layers.append(layer)
            model = replace_module(model, name, replaced[id(module)])
    return model, Certificate(tuple(layers), tuple(already), tuple(stays.values()))


def _recognise_all(model: nn.Module) -> tuple[dict[int, Recognised], dict[int, LeftLayer]]:
    """Slide attentions of other classes, and layers that stay, by the ``id`` of the layer."""
    found: dict[int, Recognised] = {}
    left: dict[int, LeftLayer] = {}
    seen: set[int] = set()
    for candidate in find_candidates(model):
        innermost = id(model.get_submodule(candidate.names[0]))
        if innermost in seen:  # shared, or within what another candidate turned out to be
            continue
        seen.add(innermost)
        match recognise(model, candidate, LARGEST_ERROR):
            case Recognised() as recognised:
                layer = model.get_submodule(recognised.name)
                found[id(layer)] = recognised
                seen |= {id(module) for module in layer.modules()}
            case LeftLayer() as stays:
                left[id(model.get_submodule(stays.name))] = stays
    order = {id(module): index for index, module in enumerate(model.modules())}
    inside = {
        id(module)
        for recognised in found.values()
        for module in model.get_submodule(recognised.name).modules()
    }
    stay = sorted((each for each in left if each not in inside), key=order.__getitem__)
    return found, {each: left[each] for each in stay}


def fold_attention(
    branched: SlideAttention, name: str = "attention"
) -> tuple[FoldedSlideAttention, FoldedLayer]:
    """Fold one attention.

    Args:
        branched: the trained layer.
        name: what to call it in errors and in the certificate.

    Returns:
        The folded layer, of the same type and device, and its line of the certificate.

    Raises:
        InputError: if its branches differ in geometry, or its weights overflow.
    """
    for branch_name, branch in _deformed_branches(branched):
        for field in formulas.GEOMETRY:
            ours, theirs = getattr(branched.dep_conv, field), getattr(branch, field)
            if ours != theirs:
                raise InputError(
                    f"{name}: dep_conv has {field} {ours} and {branch_name} has {theirs}; only "
                    f"branches of one geometry can be folded."
                )
    reading = Reading(
        folded_layer(branched),
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


def _host(layer: nn.Module, found: Recognised) -> tuple[nn.Module, FoldedLayer]:
    """What takes the place of a layer of another project, and its line of the certificate.

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
    """A folded attention in the type of a tensor and on its device, with its line.

    Args:
        reading: the attention in float64.
        name: what to call it.
        difference: how far an attention is from the trained layer, in float64.
        like: of the type and on the device that it is to have.
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
            f"{LARGEST_ERROR:.0e}: the layer computes something else than its settings say."
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
    """Largest difference in float64 on a random map with an interior and every border.

    Over the largest output where that exceeds 1.
    """
    config = branched.config
    height, width = config.kernel_size + 4, config.kernel_size + 1
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, config.dim, height, width, dtype=torch.float64, generator=generator)
    answers = []
    for form in (branched, folded):
        form = copy.deepcopy(form).cpu().double()
        x = maps if form.layout == "nchw" else maps.flatten(2).transpose(1, 2)
        # Called, not only its arithmetic: hooks and parametrizations are part of what it answers.
        answer = form(x, (height, width))
        answers.append(answer[0] if form.layout == "nchw" else answer)
    return formulas.difference(answers[1], answers[0])
