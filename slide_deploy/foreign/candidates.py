"""Find the layers of a model that may be slide attentions, by the parameters they hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from slide_deploy.foreign.calls import CutLayer
from slide_deploy.foreign.parts import (
    BRANCHES,
    branches_of,
    has_shift_branch,
    is_named,
    last_name,
    projections_of,
)

# Number of parent modules that are tried too. The innermost module with kernels and a projection
# may hold the keys or values only, inside one or two wrappers.
_MAX_PARENTS = 2
# Largest number of parameters in one attention. A module with more is a network around an
# attention, and calling it in every supported way would take long.
_MAX_PARAMETERS = 48


@dataclass(frozen=True)
class AttentionCandidate:
    """A layer that may be a slide attention.

    Attributes:
        names: names of the innermost module that may be the attention, then of its parents that
            may be.
        certain: whether it has all the parts of a slide attention. Other candidates only hold
            kernels of the right shape, and are not reported if they turn out to be no attention.
    """

    names: tuple[str, ...]
    certain: bool


def find_candidates(model: nn.Module) -> list[AttentionCandidate]:
    """Find layers that hold slide attention branches and are not of a class of this project.

    Args:
        model: model to search. All its modules are considered.

    Returns:
        The candidates, in the model's order. No candidate is inside another.
    """
    modules = list(model.named_modules(remove_duplicate=False))[::-1]
    by_name = dict(modules)
    cut = [name for name, module in modules if isinstance(module, CutLayer)]
    found = [AttentionCandidate((name,), certain=False) for name in cut]
    taken = [name for name, module in modules if _is_project_class(module)]
    # Complete layers come first. A module that only has the usual branch names may have its
    # projections in a parent.
    for matches in (_is_complete, _is_named, _may_be):
        for name, module in modules:
            free = not any(_is_within(name, one) or _is_within(one, name) for one in taken)
            if free and matches(module):
                parents = () if matches is _is_complete else _parents(by_name, name)
                certain = matches is not _may_be or _has_usual_names(module)
                found.append(AttentionCandidate((name, *parents), certain))
                taken.append(name)
    place = {name: index for index, name in enumerate(reversed(by_name))}
    return sorted(found, key=lambda candidate: place[candidate.names[0]])


def kernel_sizes(layer: nn.Module) -> tuple[int, ...]:
    """Return the sides of the kernels in a layer that can gather neighbours; (3,) without any."""
    return tuple(dict.fromkeys(kernel.shape[-1] for kernel in _kernels(layer))) or (3,)


def widths(layer: nn.Module) -> tuple[int, ...]:
    """Return the numbers of input channels that a layer may have, the likeliest first."""
    matrices = list(_matrices(layer))
    sizes = [each.shape[1] for each in matrices] + [each.shape[0] for each in matrices]
    return tuple(dict.fromkeys(sizes))


def _parents(modules: dict[str, nn.Module], name: str) -> tuple[str, ...]:
    found: list[str] = []
    while name and len(found) < _MAX_PARENTS:
        name = name.rpartition(".")[0]
        if not _is_small(modules[name]):
            break
        found.append(name)
    return tuple(found)


def _is_project_class(module: nn.Module) -> bool:
    """Whether a module and everything in it are classes of this project or of torch.

    The project's other attentions have convolutions that look like branches.
    """
    project = __name__.partition(".")[0]
    packages = {type(each).__module__.partition(".")[0] for each in module.modules()}
    return type(module).__module__.partition(".")[0] == project and packages <= {project, "torch"}


def _is_within(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}.") or not other


def _is_named(module: nn.Module) -> bool:
    return is_named(branches_of(module))


def _is_complete(module: nn.Module) -> bool:
    """Whether a layer has branches and projections that fit each other."""
    branches = branches_of(module)
    if len(branches) < 2:
        return False
    features = branches[0].conv.in_channels
    fitting = projections_of(module, features)
    if is_named(branches) or not fitting:
        return bool(fitting)
    same_shape = len({tuple(branch.conv.weight.shape) for branch in branches}) == 1
    several_heads = any(each.proj.weight.shape[1] > features for each in fitting)
    return same_shape and (several_heads or has_shift_branch(branches))


def _may_be(module: nn.Module) -> bool:
    """Whether a layer holds branch kernels and a projection, in layers or as parameters."""
    return (
        _is_small(module)
        and any(True for _ in _kernels(module))
        and any(True for _ in _matrices(module))
    )


def _is_small(module: nn.Module) -> bool:
    return len(list(module.parameters())) <= _MAX_PARAMETERS


def _has_usual_names(module: nn.Module) -> bool:
    return any(last_name(branch.name) in BRANCHES for branch in branches_of(module))


def _kernels(layer: nn.Module) -> Iterator[Tensor]:
    """Yield kernels that output every neighbour of each feature, once or several times."""
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
    """Yield the weights of linear layers, of 1x1 convolutions and of matrix parameters."""
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
    """Yield parameters, buffers and tensor attributes that are not in layers of torch."""
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
