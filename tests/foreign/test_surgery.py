"""Folding changes a copy: the caller's model is bit for bit what it was."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.foreign import HostedAttention
from slide_deploy.lowerings import Lowering, lower
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from tests.foreign import classes
from tests.foreign import written_otherwise as written
from tests.foreign.classes import ForeignAttention, drawn
from tests.foreign.test_traced import filled
from tests.support import random_attention

MAPS = (1, 12, 7, 5)


def everything(model: nn.Module) -> list[Any]:
    """Return the visible state of a model, of the random generator and of torch's defaults."""
    found: list[Any] = [torch.random.get_rng_state().tolist(), torch.get_default_dtype()]
    for name, module in model.named_modules(remove_duplicate=False):
        hooks = [list(vars(module)[field]) for field in sorted(vars(module)) if "hooks" in field]
        found.append((name, id(module), type(module), module.training, hooks))
        for own, tensor in (*module.named_parameters(recurse=False), *module.named_buffers()):
            # As bytes, so that NaN and signs of zeros count too.
            content = tensor.detach().contiguous().view(torch.uint8).tolist()
            kind = (tensor.dtype, tensor.device, tensor.stride(), tensor.requires_grad)
            found.append((own, id(tensor), tensor._version, kind, content))
    return found


def models() -> dict[str, nn.Module]:
    shared = filled(written.Functional())
    hooked = drawn(ForeignAttention())
    hooked.register_forward_hook(lambda module, args, out: out + 1)
    hooked.dep_conv.register_forward_pre_hook(lambda module, args: None)
    return {
        "ours in half": nn.ModuleDict({"a": drawn(ForeignAttention()).half(), "b": shared}),
        "shared": nn.Sequential(shared, nn.ModuleList([shared])),
        "hooks": nn.Sequential(hooked),
        "weight_norm": nn.Sequential(filled(written.WeightNorm(old=True))),
        "left": nn.Sequential(drawn(classes.BiasOnLogits()), drawn(classes.AlwaysFails())),
        "sizes as attributes": nn.Sequential(drawn(classes.SizeAttributes())),
        "trained": nn.Sequential(drawn(ForeignAttention())).requires_grad_(True),
    }


@pytest.mark.parametrize("name", models())
def test_the_callers_model_is_unchanged(name: str) -> None:
    model = models()[name].eval()
    before = everything(model)
    folded, _ = reparameterize(model)
    assert everything(model) == before
    with torch.no_grad():
        for tensor in folded.parameters():  # nothing is shared with the copy
            tensor.add_(1)
    assert everything(model) == before


class Nested(nn.Module):
    """Layers in every container, one of them called twice in a row and registered twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ForeignAttention()
        self.blocks = nn.ModuleDict(
            {
                "list": nn.ModuleList([nn.Sequential(classes.Renamed(), nn.ReLU())]),
                "again": nn.Sequential(self.first),
            }
        )
        self.last = classes.TokensAndSize(mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.first(x)) + x
        x = self.blocks["again"](self.blocks["list"][0](x))
        tokens = self.last(x.flatten(2).transpose(1, 2), x.shape[2], x.shape[3])
        return tokens.transpose(1, 2).reshape(x.shape)


def test_nested_and_shared_layers_fold() -> None:
    model = drawn(Nested()).double()
    with torch.no_grad():
        from slide_deploy.folding.formulas import shift_kernel

        renamed = model.blocks["list"][0][0]
        renamed.copying.weight.copy_(shift_kernel(renamed.d, renamed.kernel))
    folded, certificate = reparameterize(model)
    assert [line.name for line in certificate.folded] == ["first", "blocks.list.0.0", "last"]
    assert folded.first is folded.blocks["again"][0]
    maps = torch.randn(MAPS, dtype=torch.float64)
    assert (folded(maps) - model(maps)).abs().max() < 1e-11


def test_hooks_of_a_layer_are_kept_on_its_replacement() -> None:
    layer = drawn(ForeignAttention()).double()
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    layer.register_forward_hook(lambda module, args, out: out * 1.5)
    layer.register_forward_hook(lambda module, args, out: seen.append(out))
    folded, certificate = reparameterize(nn.Sequential(layer).eval())
    assert certificate.status == "folded" and not seen  # proved without them
    maps = torch.randn(MAPS, dtype=torch.float64)
    for form in (folded, lower(folded, Lowering("flat"))):
        output = form(maps)
        assert torch.equal(seen.pop(), output)
        assert (output - layer(maps)).abs().max() < 1e-11
        seen.clear()


def test_hooks_within_a_layer_are_part_of_what_it_computes() -> None:
    layer = drawn(ForeignAttention()).double()
    layer.dep_conv.register_forward_hook(lambda module, args, out: 3 * out)
    folded, certificate = reparameterize(layer)
    maps = torch.randn(MAPS, dtype=torch.float64)
    assert certificate.status == "folded"
    assert (folded(maps) - layer(maps)).abs().max() < 1e-11
    layer.drop.register_forward_hook(lambda module, args, out: out.clamp(max=0.2))
    assert reparameterize(layer)[1].status == "1 left"


def test_a_subclass_of_slide_attention_that_computes_something_else_is_left() -> None:
    class Clipped(SlideAttention):
        def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Any:
            return super().forward(x)[0].clamp(max=0.5)

    config = SlideAttentionConfig(12, 3)
    layer = Clipped(config)
    layer.load_state_dict(random_attention(config).state_dict())
    model = nn.Sequential(layer).double().eval()
    folded, certificate = reparameterize(model)
    assert certificate.status == "1 left"
    maps = torch.randn(MAPS, dtype=torch.float64)
    assert torch.equal(lower(folded)(maps), model(maps))


def test_a_layer_compiled_in_place_folds() -> None:
    layer = drawn(ForeignAttention()).double()
    layer.compile()
    folded, certificate = reparameterize(nn.Sequential(layer).eval())
    maps = torch.randn(MAPS, dtype=torch.float64)
    assert certificate.status == "folded"
    assert (folded(maps) - layer.forward(maps)).abs().max() < 1e-11


def test_tensors_kept_from_training_do_not_prevent_the_copy() -> None:
    layer = drawn(ForeignAttention()).requires_grad_(True)
    layer.kept = {"last": [layer(torch.randn(MAPS))]}
    folded, certificate = reparameterize(layer)
    assert certificate.status == "folded"
    assert torch.equal(folded.kept["last"][0], layer.kept["last"][0])


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    layer = drawn(ForeignAttention())
    layer.lock = threading.Lock()
    with pytest.raises(InputError, match=r"^The model cannot be copied \(.*lock.*\): "):
        reparameterize(nn.Sequential(layer).eval())


def test_weights_without_values_are_refused() -> None:
    with torch.device("meta"):
        model = nn.Sequential(ForeignAttention()).eval()
    with pytest.raises(InputError, match=r"^0\.table is on the meta device .*: load weights"):
        reparameterize(model)
    lazy = nn.Sequential(nn.LazyLinear(3)).eval()
    with pytest.raises(InputError, match=r"^0\.weight has no shape yet: call the model once"):
        reparameterize(lazy)


def test_default_dtype_and_grad_mode_are_restored_after_an_error() -> None:
    layer = drawn(ForeignAttention())
    layer.dep_conv.bias.fill_(torch.nan)
    with pytest.raises(InputError):
        reparameterize(layer)
    assert torch.get_default_dtype() is torch.float32 and torch.is_grad_enabled()


class OnMaps(nn.Module):
    """A network around one layer, for images of any size."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 12, 3, 2, padding=1), layer

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        output = self.layer(maps)
        return maps + (output[0] if isinstance(output, tuple | list) else output)


class OnTokens(OnMaps):
    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        tokens = self.layer(maps.flatten(2).transpose(1, 2), maps.shape[2], maps.shape[3])
        return tokens.transpose(1, 2).reshape(maps.shape)


class OnSquares(OnMaps):
    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        tokens = self.layer(maps.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(maps.shape)


class OnRows(OnMaps):
    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.stem(image).permute(0, 2, 3, 1))


OPEN: dict[str, tuple[type[OnMaps], type[nn.Module]]] = {
    "map": (OnMaps, ForeignAttention),
    "tuple": (OnMaps, classes.Tuple),
    "list": (OnMaps, written.Dropped),
    "functional": (OnMaps, written.Functional),
    "tokens": (OnTokens, classes.TokensAndSize),
    "channels last": (OnRows, classes.ChannelsLast),
    "square": (OnSquares, classes.SquareTokens),
}


QUICK = ("tokens", "functional", "square")


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("name", "strict"),
    [
        # Quick: what computes with sizes. Long: the rest, and those as torch traces strictly.
        *(
            pytest.param(name, False, marks=[] if name in QUICK else pytest.mark.slow)
            for name in OPEN
        ),
        *(
            pytest.param(name, True, marks=pytest.mark.slow if name in QUICK else pytest.mark.full)
            for name in OPEN
        ),
    ],
)
def test_hosted_layers_export_with_open_dimensions(name: str, strict: bool) -> None:
    network, kind = OPEN[name]
    model = filled(network(kind())).double()
    folded, certificate = reparameterize(model)
    assert isinstance(folded.layer, HostedAttention) and certificate.status == "folded"
    forms = [folded] if strict else [folded, lower(folded, Lowering("depthwise"))]
    batch = torch.export.Dim("batch", max=64)
    sides = {
        2: 4 * torch.export.Dim("h", min=3, max=99),
        3: 4 * torch.export.Dim("w", min=3, max=99),
    }
    for dimensions in ({0: batch}, {0: batch} | sides):
        if name == "square" and len(dimensions) > 1:
            continue  # torch cannot trace the integer square root of the number of tokens
        for form in forms:
            program = torch.export.export(
                form,
                (torch.randn(2, 3, 16, 16, dtype=torch.float64),),
                dynamic_shapes=(dimensions,),
                strict=strict,
            )
            sizes = [(5, 3, 16, 16)] + ([(1, 3, 24, 20)] if len(dimensions) > 1 else [])
            for size in sizes:
                image = torch.randn(size, dtype=torch.float64)
                assert (program.module()(image) - model(image)).abs().max() < 1e-11
