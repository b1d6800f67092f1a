"""Tokens between convolutions become NCHW feature maps; everything else stays."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

from slide_deploy.folding.model import reparameterize
from slide_deploy.formats import known_formats
from slide_deploy.layouts import stretches
from slide_deploy.layouts.normalisation import Normaliser
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.passes.running import run_passes
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import call
from tests.support import random_swin, randomise

ON_MAPS = [form for form in FORMS if FORMS[form].is_nchw]


def program_of(model: nn.Module, *inputs: Tensor, batch: bool = False) -> ExportedProgram:
    shapes = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs) if batch else None
    return torch.export.export(model.eval(), inputs, dynamic_shapes=shapes)


def names(program: ExportedProgram) -> Counter[str]:
    found = (call(node) for node in program.graph.nodes)
    return Counter(each.name for each in found if each is not None)


def rewritten(model: nn.Module, *inputs: Tensor, batch: bool = False) -> Counter[str]:
    """Rewrite a network in float64, check its outputs, and count its operators."""
    model = randomise(model).double()
    inputs = tuple(each.double() for each in inputs)
    examples = tuple(torch.cat([each, each]) for each in inputs) if batch else inputs
    program = program_of(model, *examples, batch=batch)
    written, _ = run_passes(program, ("channels_first",))
    sizes = (1, 3) if batch else (len(inputs[0]),)
    for size in sizes:
        given = tuple(each[:1].expand(size, *each.shape[1:]).contiguous() for each in inputs)
        given = tuple(each + torch.randn_like(each) for each in given)
        with torch.no_grad():
            outputs, expected = written.module()(*given), model(*given)
        outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
        expected = expected if isinstance(expected, tuple | list) else [expected]
        for ours, theirs in zip(outputs, expected, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            assert (ours - theirs).abs().max() < 1e-12 * max(1, theirs.abs().max())
    again, (report,) = run_passes(written, ("channels_first",))
    assert not report.changes, "what is on maps is not rewritten again"
    assert names(again) == names(written)
    return names(written)


def transposes(found: Counter[str]) -> int:
    return found["permute"] + found["transpose"]


class ConvBlock(nn.Module):
    """A block of ConvNeXt: depthwise convolution, normalisation, two projections."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, maps: Tensor) -> Tensor:
        rows = self.conv(maps).permute(0, 2, 3, 1)
        rows = self.gamma * self.down(functional.gelu(self.up(self.norm(rows))))
        return maps + rows.permute(0, 3, 1, 2)


class MapNorm(nn.Module):
    """A normalisation over the channels of a feature map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("batch", [False, True])
def test_blocks_between_convolutions_have_no_transpose(batch: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 2, 2),
        MapNorm(8),
        ConvBlock(8),
        ConvBlock(8),
        MapNorm(8),
        nn.Conv2d(8, 9, 2),
    )
    found = rewritten(model, torch.randn(1, 3, 18, 14), batch=batch)
    assert not transposes(found)
    assert not found["layer_norm"] + found["linear"]


class TokenBlock(nn.Module):
    """An attention between tokens, which gains nothing in NCHW."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 3 * dim),
            nn.Linear(dim, dim),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        return tokens + self.proj(functional.scaled_dot_product_attention(q, k, v))


class Transformer(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.embed, self.pos = nn.Conv2d(3, dim, 4, 4), nn.Parameter(torch.randn(1, 12, dim))
        self.blocks = nn.Sequential(TokenBlock(dim), TokenBlock(dim))
        self.head = nn.Linear(dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.embed(image).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.blocks(tokens).mean(dim=1))


def test_tokens_stay_tokens_where_attention_needs_them() -> None:
    model = randomise(Transformer()).double()
    program = program_of(model, torch.randn(1, 3, 12, 16, dtype=torch.float64))
    written, (report,) = run_passes(program, ("channels_first",))
    before, after = names(program), names(written)
    assert after["layer_norm"] == before["layer_norm"] == 2
    assert after["linear"] == before["linear"] == 5
    assert {change.what for change in report.changes} <= {
        "1 operator rewritten for NCHW feature maps",
        "2 operators rewritten for NCHW feature maps",
    }


class Merging(nn.Module):
    """Patch merging between convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(dim, dim, 1), nn.Conv2d(2 * dim, dim, 3, padding=1)
        self.norm = nn.LayerNorm(4 * dim, eps=1e-2)
        self.reduction = nn.Linear(4 * dim, 2 * dim)

    def forward(self, maps: Tensor) -> Tensor:
        x = self.before(maps).permute(0, 2, 3, 1)
        places = [(0, 0), (1, 0), (0, 1), (1, 1)]
        cells = torch.cat([x[:, row::2, column::2] for row, column in places], -1)
        batch, height, width, channels = cells.shape
        tokens = self.reduction(self.norm(cells.view(batch, -1, channels)))
        return self.after(tokens.transpose(1, 2).reshape(batch, -1, height, width))


def test_patch_merging_slices_feature_maps() -> None:
    found = rewritten(Merging(4), torch.randn(2, 4, 12, 18))
    assert found["slice"] == 8
    assert not transposes(found) + found["linear"]


class Odd(nn.Module):
    """Slices, pads, all kinds of sums, several readers, and outputs inside a rewritten stretch."""

    def __init__(self, outputs: bool) -> None:
        super().__init__()
        self.outputs = outputs
        self.conv, self.last = nn.Conv2d(4, 6, 3), nn.Conv2d(12, 4, 3)
        self.linear, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
        self.by_place = nn.Parameter(torch.randn(1, 5, 7, 6))
        self.by_token = nn.Parameter(torch.randn(35, 6))
        self.by_channel = nn.Parameter(torch.randn(6))
        self.by_row = nn.Parameter(torch.randn(5, 7, 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        rows = self.conv(maps).permute(0, 2, 3, 1)
        rows = self.linear(rows) + self.by_place
        tokens = self.norm(rows.flatten(1, 2) - self.by_token) * self.by_channel
        again = 2 - tokens.reshape(rows.shape).tanh() / 3 + self.by_row
        cut = torch.cat([again[:, 1:, :-2], again[:, :-1, 2:]], dim=1)
        padded = functional.pad(cut, (0, 0, 1, 1, 0, 2), value=0.5)
        both = torch.cat([padded, torch.maximum(padded, padded * 0.5)], dim=-1)
        last = self.last(both.permute(0, 3, 1, 2))
        return (last, tokens, rows.sum(dim=2), again) if self.outputs else (last,)


@pytest.mark.parametrize("batch", [False, True])
def test_outputs_and_values_with_other_readers_keep_their_layout(batch: bool) -> None:
    assert not transposes(rewritten(Odd(outputs=False), torch.randn(1, 4, 7, 9), batch=batch))
    assert transposes(rewritten(Odd(outputs=True), torch.randn(1, 4, 7, 9), batch=batch))


class Returned(nn.Module):
    """The first feature map is an output of the network, and so is the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.block = nn.Conv2d(3, 8, 1), ConvBlock(8)

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        maps = self.conv(maps)
        rows = maps.permute(0, 2, 3, 1)
        last = self.block(maps)
        return maps, rows, last, last.permute(0, 2, 3, 1)


def test_feature_maps_that_are_outputs() -> None:
    rewritten(Returned(), torch.randn(1, 3, 6, 5))


class Dropping(nn.Module):
    """A dropout that is active in every mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, maps: Tensor) -> Tensor:
        rows = functional.dropout(self.linear(maps.permute(0, 2, 3, 1)), 0.5, training=True)
        return rows.permute(0, 3, 1, 2)


def test_active_dropout_stays() -> None:
    program = program_of(Dropping(), torch.randn(1, 4, 6, 5))
    assert names(run_passes(program, ("channels_first",))[0])["dropout"] == 1


class Open(nn.Module):
    """Feature maps of open height and width that become tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 1), nn.Linear(4, 4)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv(maps)
        tokens = self.linear(maps.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(maps.shape)


def test_feature_maps_of_open_sizes_are_left_unchanged() -> None:
    open_sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    image = torch.randn(1, 3, 8, 6)
    program = torch.export.export(Open().eval(), (image,), dynamic_shapes=(open_sizes,))
    written, (report,) = run_passes(program, ("channels_first",))
    assert not report.changes
    assert names(written) == names(program)


class Placed(nn.Module):
    """Two tokens plus as many computed rows as the batch of the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rows = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(2, 4))

    def forward(self, maps: Tensor) -> Tensor:
        tokens = self.conv(maps).flatten(2).transpose(1, 2)
        return (tokens + self.rows * 2).transpose(1, 2).reshape(-1, 4, 1, 2)


def test_an_open_batch_stays_open() -> None:
    """An open batch stays open even if another size equals the batch of the trace."""
    program = program_of(Placed(), torch.randn(2, 3, 1, 2), batch=True)
    for passes in (("channels_first",), *(format.passes for format in known_formats())):
        written, _ = run_passes(program, passes)
        (image,) = (node for node in written.graph.nodes if node.name == "maps")
        assert not image.meta["val"].shape[0].node.expr.is_number


QUICK, LONG = 1, 4  # of the forms, each with one of the settings and again with another
SETTINGS = [
    {},
    {"image_size": (64, 32), "ape": True},
    {"num_slide_stages": 1, "depths": (1, 2, 2), "qkv_bias": False},
    {"num_slide_stages": 3, "patch_norm": False},
    {"dim_reduction": 2, "share_qkv": True, "kernel_size": 5, "image_size": (48, 80)},
]


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        pytest.param(
            form,
            SETTINGS[place % len(SETTINGS)],
            marks=() if place < QUICK else pytest.mark.slow if place < LONG else pytest.mark.full,
        )
        for place, form in enumerate([*FORMS, *FORMS])
    ],
)
def test_slide_swin(form: str, settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """All slide stages become NCHW feature maps if a normalisation costs almost nothing."""
    monkeypatch.setattr(stretches, "_NORMALISATION", 0.2)
    model = random_swin(**{"window_size": 1} | settings).double()
    for index, norm in enumerate(
        each for each in model.modules() if isinstance(each, nn.LayerNorm)
    ):
        norm.eps = 1e-3 * (index + 1)
    folded, _ = reparameterize(model)
    image = torch.randn(1, 3, *model.config.image_size, dtype=torch.float64)
    for trunk in (model, model.backbone()):
        whole = folded if trunk is model else folded.backbone()
        program = program_of(lower(whole, Lowering(form, 2)), image)
        written, _ = run_passes(program, ("channels_first",))
        with torch.no_grad():
            outputs, expected = written.module()(image), trunk(image)
        for ours, theirs in zip(outputs, expected, strict=True):
            assert (ours - theirs).abs().max() < 1e-12 * max(1, theirs.abs().max())
    if form in ON_MAPS and trunk.config.num_slide_stages == 3:
        assert not transposes(names(written))


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e3])
@pytest.mark.parametrize("affine", [True, False])
def test_a_mean_far_larger_than_the_deviation_costs_no_precision(mean: float, affine: bool) -> None:
    """In float32 the error is that of rounding the input, not that of its square."""
    norm = randomise(nn.LayerNorm(16, elementwise_affine=affine))
    maps = mean + torch.randn(1, 16, 50, 50, generator=torch.Generator().manual_seed(0))

    class Alone(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps.neg()

    program = program_of(Alone(), maps)
    editor = Editor(program)
    (node,) = (each.node for each in editor.calls("neg"))
    writer = Normaliser(editor, node)
    weight, bias = (norm.weight, norm.bias) if affine else (None, None)
    editor.replace(node, writer.normalise(node.args[0], norm.eps, weight, bias, False))
    editor.clean()
    exact = functional.layer_norm(
        maps.double().permute(0, 2, 3, 1),
        (16,),
        *(None if each is None else each.double() for each in (weight, bias)),
        norm.eps,
    ).permute(0, 3, 1, 2)
    with torch.no_grad():
        off = (program.module()(maps) - exact).abs().max()
    assert off < 16 * torch.finfo(torch.float32).eps * (abs(mean) + 4)


class Means(nn.Module):
    """Rows between feature maps, and means over all axes, over some, and in another type."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 6)
        self.convolution = nn.Conv2d(6, 6, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        rows = self.linear(self.norm(self.convolution(maps).permute(0, 2, 3, 1)))
        means = rows.mean(), rows.mean((1,)), rows.mean((1, 2))
        single = rows.mean((1, 2), dtype=torch.float32).round()  # which is as exact as it is here
        return *means, single, rows.permute(0, 3, 1, 2) + maps


def test_means_of_all_kinds() -> None:
    rewritten(Means(), torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0)))


def test_values_whose_memory_layout_is_read_stay() -> None:
    class Windows(nn.Module):
        def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
            rows = maps.exp().permute(0, 2, 3, 1).neg().contiguous()
            return rows.as_strided((2, 4, 4), (96, 6, 1)).exp(), rows.permute(0, 3, 1, 2) + maps

    rewritten(Windows(), torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0)))
