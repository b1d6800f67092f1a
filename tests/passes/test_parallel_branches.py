"""Blocks with parallel branches become one convolution each, exactly."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.passes import parallel_branches
from slide_deploy.program.tracing import without_changes_in_place
from tests.passes.blocks import (
    CONVS,
    Added,
    DilatedReparam,
    DiverseBranch,
    ELan,
    MobileOneBlock,
    RepConv,
    RepMixer,
    ac_net,
    conv_bn,
    drawn,
    large_kernel,
    mobile_one,
    rep_vgg,
)
from tests.passes.programs import (
    convolutions,
    largest_difference,
    maps,
    names,
    program_of,
    rewritten,
)

PASS = "parallel_branches"

BLOCKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "RepVGG": (rep_vgg, 1),
    "RepVGG, stride 2": (lambda: rep_vgg(8, 12, stride=2), 1),
    "RepVGG, 4 groups": (lambda: rep_vgg(groups=4), 1),
    "MobileOne": (mobile_one, 1),
    "MobileOne, depthwise": (lambda: mobile_one(groups=8), 1),
    "MobileOne, depthwise, stride 2": (lambda: mobile_one(groups=8, stride=2), 1),
    "MobileOne, pointwise": (lambda: mobile_one(8, 12, size=1), 1),
    "MobileOne, both": (lambda: MobileOneBlock(8, 12), 2),
    "ACNet": (ac_net, 1),
    "ACNet 5x5": (lambda: ac_net(size=5), 1),
    "RepConv": (RepConv, 1),
    "RepConv, other channels": (lambda: RepConv(8, 4), 1),
    "RepConv, 2 groups": (lambda: RepConv(groups=2), 1),
    "E-ELAN": (ELan, 5),
    "RepMixer": (RepMixer, 1),
    "RepMixer 7x7 without scale": (lambda: RepMixer(size=7, has_scale=False), 1),
    "large kernel": (large_kernel, 1),
    "large kernel 31x31": (lambda: large_kernel(size=31), 1),
    "large kernel, stride 2": (lambda: large_kernel(stride=2), 1),
    "dilated beside large": (DilatedReparam, 1),
    "diverse branches": (DiverseBranch, 1),
    "diverse branches, 2 groups": (lambda: DiverseBranch(8, 12, groups=2), 1),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_a_block_becomes_one_convolution(name: str, dtype: torch.dtype) -> None:
    make, count = BLOCKS[name]
    block, x = drawn(make()).to(dtype), maps(2, 8, 17, 14, dtype=dtype)
    before = program_of(block, x)
    after, report = rewritten(before, PASS)
    assert convolutions(after) == count < convolutions(before)
    assert not {"batch_norm", "add", "sub", "mul", "avg_pool2d", "pad"} & set(names(after))
    assert largest_difference(before, after, x) < (1e-12 if dtype == torch.float64 else 2e-6)
    assert not report.refusals and len(report.changes) == count
    for change in report.changes:
        assert change.error is not None and change.error < 1e-12
        assert change.rounding is not None
        assert change.error <= change.rounding < (1e-12 if dtype == torch.float64 else 1e-6)
        assert len(change.parts) > 1 and "became one convolution" in change.what


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_feature_maps_with_one_two_and_three_axes(axes: int, stride: int) -> None:
    block = drawn(rep_vgg(axes=axes, stride=stride)).double()
    x = maps(2, 8, *(9, 6, 5)[:axes])
    before = program_of(block, x)
    after, _ = rewritten(before, PASS)
    assert names(after) == [f"conv{axes}d"] and largest_difference(before, after, x) < 1e-12


class Conv(nn.Module):
    """A convolution with a bias and any settings."""

    def __init__(self, size: int, axes: int = 2, **settings: object) -> None:
        super().__init__()
        self.conv = CONVS[axes](8, 8, size, **settings)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


SUMS: dict[str, Callable[[], list[nn.Module]]] = {
    "even kernels": lambda: [Conv(4, padding=1), Conv(2)],
    "even kernels padded as their size asks": lambda: [Conv(4, padding="same"), Conv(3, padding=1)],
    "sizes that only meet at this stride": lambda: [Conv(2, stride=2), Conv(1, stride=2)],
    "one dilation": lambda: [Conv(3, dilation=2, padding=2), Conv(1), nn.Identity()],
    "two dilations": lambda: [Conv(5, padding=4, dilation=2), Conv(3, padding=4, dilation=4)],
    "dense beside depthwise": lambda: [Conv(3, padding=1), Conv(3, padding=1, groups=8)],
    "groups beside depthwise": lambda: [Conv(3, padding=1, groups=2), Conv(1, groups=8)],
    "groups of 2 and of 4": lambda: [Conv(3, padding=1, groups=4), Conv(3, padding=1, groups=2)],
    "padding that is its own operator": lambda: [
        nn.Sequential(nn.ZeroPad2d(1), Conv(3)),
        nn.Sequential(nn.ZeroPad2d(2), Conv(5)),
        Conv(1),
    ],
    "cropped": lambda: [Conv(3), Crop(1), nn.Sequential(Crop(1), Conv(1))],
    "average pooling": lambda: [Conv(3, padding=1), nn.AvgPool2d(3, 1, 1)],
    "average pooling by another divisor": lambda: [
        Conv(3, padding=1),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False, divisor_override=5),
    ],
    "average pooling with a stride": lambda: [Conv(2, stride=2), nn.AvgPool2d(2)],
    "normalisation without weights": lambda: [
        Conv(3, padding=1),
        nn.BatchNorm2d(8, affine=False),
    ],
    "layers that do nothing": lambda: [
        nn.Sequential(nn.Dropout(0.5), Conv(3, padding=1), nn.Dropout2d(0.5)),
        nn.Sequential(nn.Identity(), Conv(1)),
    ],
    "two paddings that are alike": lambda: [
        nn.Sequential(nn.ReflectionPad2d(1), Conv(3)),
        nn.Sequential(nn.ReflectionPad2d(1), Conv(3)),
    ],
    "values computed twice": lambda: [
        nn.Sequential(nn.ReLU(), Conv(3, padding=1)),
        nn.Sequential(nn.ReLU(), Conv(1)),
    ],
    "a convolution before one that does not pad": lambda: [
        nn.Sequential(Conv(1), Conv(3)),
        Conv(3),
    ],
    "a convolution without bias before one that pads": lambda: [
        nn.Sequential(Conv(1, bias=False), Conv(3, padding=1)),
        Conv(3, padding=1),
    ],
}


class Crop(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.count : -self.count, self.count : -self.count]


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_one_convolution(name: str) -> None:
    model, x = drawn(Added(SUMS[name]())).double(), maps(2, 8, 10, 12)
    before = program_of(model, x)
    after, report = rewritten(before, PASS)
    assert convolutions(after) == 1 and "add" not in names(after)
    assert largest_difference(before, after, x) < 1e-12 and not report.refusals


class Written(nn.Module):
    """Two convolutions, and a function of them and of the input."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(8))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


WRITTEN: dict[str, Callable[[Written, Tensor], Tensor]] = {
    "difference": lambda m, x: m.one(x) - m.two(x),
    "difference from the input": lambda m, x: x - m.two(x) - m.one(x),
    "alpha": lambda m, x: torch.sub(torch.add(m.one(x), m.two(x), alpha=0.5), x, alpha=2),
    "reversed difference": lambda m, x: torch.rsub(m.one(x), m.two(x), alpha=3),
    "sum of a list": lambda m, x: sum([m.one(x), m.two(x), x]),
    "sum of a stack": lambda m, x: torch.stack([m.one(x), m.two(x), x]).sum(0),
    "mean of a stack": lambda m, x: torch.stack([m.one(x), x], dim=2).mean(2),
    "a tree": lambda m, x: (m.one(x) + x) + (x + (m.two(x) + x)),
    "a factor for each channel": lambda m, x: m.scale[:, None, None] * (m.one(x) + m.two(x)) - x,
    "factors of one term": lambda m, x: x + m.one(x) * m.scale.view(1, -1, 1, 1) / 3 + m.two(x),
    "a bias apart": lambda m, x: m.two(x) + m.scale.view(8, 1, 1) + x + 0.25 - m.scale[0],
    "minus": lambda m, x: -(m.one(x) + m.two(x)),
    "one minus": lambda m, x: 1 - m.one(x) + x,
    "in place": lambda m, x: m.one(x).add_(x).mul_(2).add_(m.two(x)).relu_(),
    "a kernel that is computed": lambda m, x: (
        functional.conv2d(x, m.two.weight + torch.eye(8)[..., None, None]) + m.one(x)
    ),
    "one layer twice": lambda m, x: m.one(x) + m.two(x) + m.two(x),
    "two values of one layer": lambda m, x: m.one(x) + 2 * m.one(x),
    "a cast to the same type": lambda m, x: m.one(x.to(x.dtype)) + m.two(x.contiguous()).clone(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_sum_in_any_notation(name: str) -> None:
    model, x = drawn(Written(WRITTEN[name])).double(), maps(2, 8, 7, 6)
    before = without_changes_in_place(program_of(model, x))
    after, report = rewritten(before, PASS)
    assert [each for each in names(after) if each != "relu" and each[0] != "_"] == ["conv2d"]
    assert largest_difference(before, after, x) < 1e-12
    assert len(report.changes) == 1 and not report.refusals


CHAINS: dict[str, Callable[[], nn.Module]] = {
    "normalisation": lambda: conv_bn(8, 12, 3),
    "normalisation of a convolution with a bias": lambda: nn.Sequential(
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
    ),
    "1x1 before 3x3": lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3)),
    "1x1, normalisation, 3x3 with a stride": lambda: nn.Sequential(
        conv_bn(8, 8, 1), nn.Conv2d(8, 16, 3, stride=2)
    ),
    "3x3 before 1x1": lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)),
    "3x3 before 1x1 with a stride": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, stride=2)
    ),
    "strides, dilations and groups": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 1, stride=2, groups=4), nn.Conv2d(8, 8, 3, dilation=2, groups=2)
    ),
    "columns after rows, depthwise": lambda: nn.Sequential(
        nn.Conv2d(8, 8, (1, 2), groups=8), nn.Conv2d(8, 8, (2, 1), groups=8)
    ),
    "normalisation before": lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)),
    "around a sum": lambda: nn.Sequential(
        Added([nn.Conv2d(8, 8, 3), Crop(1)]), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_become_one_convolution(name: str) -> None:
    model, x = drawn(CHAINS[name]()).double(), maps(2, 8, 12, 11)
    before = program_of(model, x)
    after, report = rewritten(before, PASS)
    assert names(after) == ["conv2d"] and largest_difference(before, after, x) < 1e-12
    assert not report.refusals


def test_all_shapes_of_a_chain_and_a_sum() -> None:
    """Combinations of strides, dilations, groups and paddings, compared with torch."""
    x = maps(1, 4, 23)
    kinds = itertools.product((1, 2), (1, 2), (1, 2, 4), (0, 1))
    for stride, dilation, groups, pad in kinds:
        settings = {"stride": stride, "dilation": dilation, "groups": groups}
        first = nn.Conv1d(4, 4, 2 - pad, groups=2, stride=2, bias=not pad)
        second = nn.Conv1d(4, 4, 3, padding=pad, **settings)
        dense = nn.Conv1d(4, 4, 7 + 4 * dilation, stride=2 * stride, padding=2 * pad)
        model = drawn(Added([nn.Sequential(first, second), dense])).double()
        try:
            before = program_of(model, x)
        except RuntimeError:  # their outputs differ in length
            continue
        after, _ = rewritten(before, PASS)
        assert largest_difference(before, after, x) < 1e-12
        assert names(after).count("conv1d") in (1, 3)


@pytest.mark.slow
def test_open_sizes_stay_open() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                rep_vgg(3, 8, stride=2), nn.ReLU(inplace=True), RepMixer(), DiverseBranch()
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    model, x = drawn(Net()).double(), maps(2, 3, 32, 24)
    dynamic = torch.export.Dim.DYNAMIC
    before = without_changes_in_place(
        program_of(model, x, dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
    )
    after, _ = rewritten(before, PASS)
    assert convolutions(after) == 3
    for other in (x, maps(1, 3, 17, 35), maps(3, 3, 9, 8)):
        assert largest_difference(before, after, other) < 1e-12


def test_the_largest_sum_wins_over_its_parts() -> None:
    """A row and a column alone would cost more as a square; beside a square they are free."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(conv_bn(8, 8, each) for each in ((1, 3), (3, 1), 3))

        def forward(self, x: Tensor) -> Tensor:
            row, column, square = (layer(x) for layer in self.layers)
            return (row + column) + square

    model, x = drawn(Net()).double(), maps(1, 8, 9, 9)
    after, report = rewritten(program_of(model, x), PASS)
    assert names(after) == ["conv2d"] and not report.refusals


def test_the_cheapest_merge_wins() -> None:
    """Depthwise copies are merged; a dense 1x1 beside them would make all of it dense."""
    layers = [nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(10)]
    model = drawn(Added([*layers, nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)])).double()
    x = maps(1, 8, 9, 9)
    before = program_of(model, x)
    after, _ = rewritten(before, PASS)
    assert sorted(names(after)) == ["add", "conv2d", "conv2d"]
    shapes = {tuple(tensor.shape) for tensor in after.state_dict.values() if tensor.ndim > 1}
    assert shapes == {(8, 1, 3, 3), (8, 8, 1, 1)}
    assert largest_difference(before, after, x) < 1e-12


def test_a_sum_does_not_make_an_expensive_chain_merge() -> None:
    """Depthwise kernels before a dense one: one of each costs less than one merged kernel."""
    layers = [nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(10)]
    model = drawn(nn.Sequential(Added(layers), nn.Conv2d(8, 8, 4, stride=4))).double()
    x = maps(1, 8, 16, 16)
    after, report = rewritten(program_of(model, x), PASS)
    assert names(after) == ["conv2d", "conv2d"] and len(report.changes) == 1


def test_terms_of_other_values_stay_in_the_sum() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = conv_bn(8, 8, 3), conv_bn(8, 8, 1)
            self.other = conv_bn(8, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = x.sigmoid()
            return (
                self.one(x) - torch.mul(x, y) + self.two(x) + torch.add(y, self.other(y), alpha=3)
            )

    model, x = drawn(Net()).double(), maps(1, 8, 9, 9)
    before = program_of(model, x)
    after, report = rewritten(before, PASS)
    assert convolutions(after) == 2 and names(after).count("add") + names(after).count("sub") == 2
    assert largest_difference(before, after, x) < 1e-12 and not report.refusals


def test_the_program_is_not_changed() -> None:
    model, x = drawn(rep_vgg()).double(), maps(1, 8, 9, 9)
    before = program_of(model, x)
    code, weights = before.graph_module.code, dict(before.state_dict)
    rewritten(before, PASS)
    assert before.graph_module.code == code
    assert all(before.state_dict[name] is tensor for name, tensor in weights.items())


def test_weights_are_rounded_once() -> None:
    """Each weight is the nearest float32 to the exact one, not rounded step by step."""
    block = drawn(DiverseBranch())
    x = maps(1, 8, 9, 9, dtype=torch.float32)
    after, _ = rewritten(program_of(block, x), PASS)
    exact, _ = rewritten(program_of(block.double(), x.double()), PASS)
    for one, other in zip(after.state_dict.values(), exact.state_dict.values(), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other.float())


def test_the_report_names_layers_and_parts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
            self.block = RepConv()

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.stem(x))

    _, report = rewritten(program_of(drawn(Net()), maps(1, 8, 9, 9, dtype=torch.float32)), PASS)
    stem, block = report.changes
    assert stem.layer == "stem.0 (Conv2d)" and block.layer == "block (RepConv)"
    assert stem.what == "1 convolution and 1 normalisation became one convolution"
    assert stem.parts == ("stem.0 (Conv2d)", "stem.1 (BatchNorm2d)")
    assert block.what == "2 convolutions and 3 normalisations became one convolution"
    assert set(block.parts) == {
        *(f"block.{each}.0 (Conv2d)" for each in ("dense", "point")),
        *(f"block.{each}.1 (BatchNorm2d)" for each in ("dense", "point")),
        "block.identity (BatchNorm2d)",
    }


def test_wrong_arithmetic_is_refused_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from slide_deploy.branches import plan

    right = plan.add

    def wrong(kernels, shape):
        kernel = right(kernels, shape)
        kernel.weight.mul_(1 + 1e-9)
        return kernel

    model, x = drawn(rep_vgg()).double(), maps(1, 8, 9, 9)
    before = program_of(model, x)
    monkeypatch.setattr(plan, "add", wrong)
    after, report = rewritten(before, PASS)
    assert names(after) == names(before) and not report.changes
    assert any("differs by" in refusal.why and "e-1" in refusal.why for refusal in report.refusals)
    assert 1e-12 < parallel_branches.MAX_ERROR < 1e-9


def test_weights_that_overflow_are_refused() -> None:
    model = Added([nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)])
    for parameter in drawn(model).parameters():
        parameter.fill_(4e4 if parameter.ndim > 1 else 0)
    x = maps(1, 2, 5, 5, dtype=torch.float16)
    before = program_of(model.half(), x)
    after, report = rewritten(before, PASS)
    assert names(after) == names(before) and not report.changes
    (refusal,) = report.refusals
    assert "rounding the weights of the merged convolution costs inf" in refusal.why


@pytest.mark.parametrize("variance", [0.0, 1e-12, 1e12])
def test_extreme_variances_lose_no_more_than_the_layers_do(variance: float) -> None:
    """With tiny variances, the exact fold is as good as the layers in float32."""
    block = drawn(rep_vgg())
    for name, tensor in block.named_buffers():
        if name.endswith("running_var"):
            tensor.fill_(variance)
    x = maps(1, 8, 9, 9, dtype=torch.float32)
    before = program_of(block, x)
    after, report = rewritten(before, PASS)
    assert names(after) == ["conv2d"]
    (change,) = report.changes
    assert change.error is not None and change.error < 1e-12
    with torch.no_grad():
        exact = drawn_like(block, x)
        ours = after.module()(x).double()
        theirs = block(x).double()
    scale = max(1.0, float(exact.abs().max()))
    off, before_off = (float((each - exact).abs().max()) / scale for each in (ours, theirs))
    assert off <= 3 * max(before_off, torch.finfo(torch.float32).eps)


def drawn_like(block: nn.Module, x: Tensor) -> Tensor:
    """The output of a block in float64."""
    import copy

    return copy.deepcopy(block).double()(x.double())
