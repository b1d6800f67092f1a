"""Which layers of a model may be slide attentions, by what they hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from slide_deploy.foreign.parts import (
    BRANCHES,
    branches_of,
    is_named,
    looks_trained,
    own_name,
    projections_of,
)

# Layers around the innermost one that holds kernels and a projection: a wrapper of branches and
# projections of one side, and one around that.
_MOST_AROUND = 2
# Parameters of one attention, at most: what holds more is a network around it, which would take
# long to call in every way.
_MOST_PARAMETERS = 48


@dataclass(frozen=True)
class AttentionCandidate:
    """A layer that may be a slide attention.

    Attributes:
        names: of the innermost module that may be it, and of modules around that which may.
        certain: whether it has the parts of a slide attention. Others only hold kernels of that
            shape: if such a one is none, nobody need hear of it.
    """

    names: tuple[str, ...]
    certain: bool


def find_candidates(model: nn.Module) -> list[AttentionCandidate]:
    """Layers that hold branches of a slide attention and are of no class of this project.

    Args:
        model: searched as a whole.

    Returns:
        Those that may be one, in the model's order.
    """
    modules = list(model.named_modules(remove_duplicate=False))[::-1]
    by_name = dict(modules)
    taken = [name for name, module in modules if _is_ours(module)]
    found: list[AttentionCandidate] = []
    # What is only named like a slide attention is found later: its projections may stand in a
    # layer around it.
    for is_one in (_is_whole, _is_named, _may_be):
        for name, module in modules:
            apart = not any(_is_within(name, one) or _is_within(one, name) for one in taken)
            if apart and is_one(module):
                around = () if is_one is _is_whole else _around(by_name, name)
                certain = is_one is not _may_be or _has_usual_names(module)
                found.append(AttentionCandidate((name, *around), certain))
                taken.append(name)
    place = {name: index for index, name in enumerate(reversed(by_name))}
    return sorted(found, key=lambda candidate: place[candidate.names[0]])


def kernel_sizes(layer: nn.Module) -> tuple[int, ...]:
    """Sides of the neighbourhoods that kernels in a layer can bring; 3 where there is no kernel."""
    return tuple(dict.fromkeys(kernel.shape[-1] for kernel in _kernels(layer))) or (3,)


def widths(layer: nn.Module) -> tuple[int, ...]:
    """Numbers of channels that a layer may take, the likeliest first."""
    matrices = list(_matrices(layer))
    sizes = [each.shape[1] for each in matrices] + [each.shape[0] for each in matrices]
    return tuple(dict.fromkeys(sizes))


def _around(modules: dict[str, nn.Module], name: str) -> tuple[str, ...]:
    found: list[str] = []
    while name and len(found) < _MOST_AROUND:
        name = name.rpartition(".")[0]
        if not _is_small(modules[name]):
            break
        found.append(name)
    return tuple(found)


def _is_ours(module: nn.Module) -> bool:
    """Whether a layer is of this project, with all in it: others look as if they had branches."""
    ours = __name__.partition(".")[0]
    packages = {type(each).__module__.partition(".")[0] for each in module.modules()}
    return type(module).__module__.partition(".")[0] == ours and packages <= {ours, "torch"}


def _is_within(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}.") or not other


def _is_named(module: nn.Module) -> bool:
    return is_named(branches_of(module))


def _is_whole(module: nn.Module) -> bool:
    """Whether a layer has branches and projections that fit."""
    branches = branches_of(module)
    if len(branches) < 2:
        return False
    features = branches[0].conv.in_channels
    fitting = projections_of(module, features)
    if is_named(branches) or not fitting:
        return bool(fitting)
    alike = len({tuple(branch.conv.weight.shape) for branch in branches}) == 1
    shared = any(each.proj.weight.shape[1] > features for each in fitting)
    return alike and (shared or looks_trained(branches))


def _may_be(module: nn.Module) -> bool:
    """Whether a layer holds kernels of branches and a projection, in layers or as parameters."""
    return (
        _is_small(module)
        and any(True for _ in _kernels(module))
        and any(True for _ in _matrices(module))
    )


def _is_small(module: nn.Module) -> bool:
    return len(list(module.parameters())) <= _MOST_PARAMETERS


def _has_usual_names(module: nn.Module) -> bool:
    return any(own_name(branch.name) in BRANCHES for branch in branches_of(module))


def _kernels(layer: nn.Module) -> Iterator[Tensor]:
    """Kernels that answer every neighbour of each feature, perhaps several times."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            offsets = height * width
            if (
                height == width
                and _is_side(height)
                and module.groups == module.in_channels
                and module.out_channels % (module.in_channels * offsets) == 0
            ):
                yield module.weight
    for tensor in _own_tensors(layer):
        if tensor.ndim > 2 and tensor.shape[-1] == tensor.shape[-2]:
            offsets = tensor.shape[-1] ** 2
            if _is_side(tensor.shape[-1]) and tensor[..., 0, 0].numel() % offsets == 0:
                yield tensor


def _matrices(layer: nn.Module) -> Iterator[Tensor]:
    """Weights of linear layers and of what is written as one."""
    for module in layer.modules():
        if isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        ):
            yield module.weight
    for tensor in _own_tensors(layer):
        shape = [size for size in tensor.shape if size > 1]
        if len(shape) == 2 and tensor.is_floating_point():
            yield tensor.reshape(shape)


def _own_tensors(layer: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers and plain tensors in classes of others, not in layers of torch."""
    for name, module in layer.named_modules():
        if type(module).__module__.partition(".")[0] == "torch" and not isinstance(
            module, nn.ParameterList | nn.ParameterDict
        ):
            continue
        if isinstance(module, nn.Conv2d | nn.Linear) or ".parametrizations" in f".{name}":
            continue
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def _is_side(size: int) -> bool:
    return size > 1 and size % 2 == 1
