"""``load``, ``fold`` and ``lower``."""

import numpy as np
import pytest
import torch
from torch import nn

import slide_deploy
from slide_deploy import InputError
from slide_deploy.foreign import HostedAttention
from slide_deploy.lowerings.lowered import LoweredSlideAttention
from slide_deploy.models.slide_attention import FoldedSlideAttention
from tests.api.networks import IMAGE, Classifier, network, state
from tests.passes.blocks import drawn, rep_vgg
from tests.support import GOLDEN, Golden

NANO = GOLDEN / "slide_swin_nano.pth"


def held(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def answer(model: nn.Module, image: torch.Tensor = IMAGE) -> np.ndarray:
    with torch.no_grad():
        return model(image).double().numpy()


def test_load_reads_a_checkpoint(nano: Golden) -> None:
    loaded = slide_deploy.load(str(nano.path))
    given = loaded.model(nano.expected["image"])
    assert torch.allclose(given, nano.expected["logits"], atol=1e-4)
    assert [each.name for each in loaded.inputs] == ["image"]
    assert repr(loaded).splitlines()[1:] == ["  takes image 1x3x64x64 float32", "  outputs logits"]
    assert repr(loaded).startswith(f"{nano.path}: slide_swin: 64x64 pixels, 4 classes")


def test_load_takes_the_options_of_the_command_line() -> None:
    loaded = slide_deploy.load(
        NANO, features=True, dynamic_batch=True, image_size=(64, 64), weights="raw"
    )
    assert loaded.outputs[0] == "stage0" and loaded.open_names == ("batch",)
    wider = slide_deploy.load(NANO, image_size="64x128", keep_windows=True)
    assert wider.inputs[0].shape == (1, 3, 64, 128)
    same = slide_deploy.load(NANO, image_size=128, resize_position_tables=True)
    assert same.inputs[0].shape == (1, 3, 128, 128)
    assert any("interpolated" in remark for remark in same.origin.remarks)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"image_size": 128}, r"`keep_windows`"),  # not --keep-windows
        ({"image_size": "wide"}, "`image_size` wide is not a size: give 224 or 512x768"),
        ({"image_size": (1, 2, 3)}, r"`image_size` \(1, 2, 3\) is not a size"),
        ({"weights": "best"}, "`weights` best is not a choice: give auto or averaged or raw"),
        ({"entry": "ema.nothing"}, "entry"),
    ],
)
def test_load_names_the_argument_that_cannot_be_used(given: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        slide_deploy.load(NANO, **given)  # type: ignore[arg-type]
    assert "--" not in str(error.value)


@pytest.mark.parametrize("path", ["", 3, "no/such.pth"])
def test_load_refuses_a_value_that_is_not_a_path(path: object) -> None:
    with pytest.raises(InputError):
        slide_deploy.load(path)  # type: ignore[arg-type]


def test_fold_returns_a_folded_copy_and_does_not_change_the_module() -> None:
    model = network()
    before = state(model)
    folded, certificate = slide_deploy.fold(model)
    assert state(model) == before
    assert [layer.name for layer in certificate.folded] == ["attn"]
    assert certificate.status == "folded" and certificate.error < 1e-12
    assert held(folded, FoldedSlideAttention) and held(folded, HostedAttention) == ["attn"]
    assert not folded.training
    assert np.allclose(answer(folded), answer(model.eval()), atol=1e-5)


def test_fold_takes_checkpoints_by_path_or_loaded() -> None:
    by_path, _ = slide_deploy.fold(NANO)
    loaded = slide_deploy.load(NANO)
    folded, certificate = slide_deploy.fold(loaded)
    assert len(certificate.folded) == 2
    assert not held(loaded.model, FoldedSlideAttention)
    for ours, theirs in zip(folded.parameters(), by_path.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fold_keeps_the_type_of_the_weights(dtype: torch.dtype) -> None:
    folded, _ = slide_deploy.fold(network().to(dtype))
    assert {parameter.dtype for parameter in folded.parameters()} == {dtype}


def test_fold_takes_wrapped_networks() -> None:
    model = network()
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        folded, certificate = slide_deploy.fold(wrapped)
        assert isinstance(folded, Classifier) and certificate.folded[0].name == "attn"


def test_fold_reports_that_there_is_nothing_to_fold() -> None:
    folded, certificate = slide_deploy.fold(nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert certificate.status == "nothing to fold" and certificate.folded == ()
    assert answer(folded).shape == (1, 4, 14, 22)


class Branched(nn.Module):
    """The classifier after parallel branches, with different arguments and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rest, self.branches = Classifier(), rep_vgg(3, 3)

    def forward(self, image: torch.Tensor, twice: bool = False) -> dict[str, object]:
        x = self.branches(image * 2 if twice else image).relu()
        return {"logits": self.rest(x), "maps": [x]}


def test_fold_with_inputs_merges_branches_and_keeps_the_signature() -> None:
    model = drawn(Branched()).train()
    before = state(model)
    folded, certificate = slide_deploy.fold(model, IMAGE)
    assert state(model) == before
    assert certificate.status == "1 folded, 1 merged" and certificate.error < 1e-12
    assert [change.layer for change in certificate.merged] == ["branches (Added)"]
    kernels = [each for each in folded.state_dict() if "merged" in each]
    assert len(kernels) == 2  # a weight and a bias
    model.eval()
    for batch in (IMAGE, torch.cat([IMAGE, 2 * IMAGE])[:1]):
        ours, theirs = folded(batch), model(batch)
        assert ours.keys() == theirs.keys()
        assert torch.allclose(ours["logits"], theirs["logits"], atol=1e-4)
        assert torch.allclose(ours["maps"][0], theirs["maps"][0], atol=1e-4)


def test_fold_with_inputs_takes_other_sizes_and_keyword_arguments() -> None:
    model = drawn(Branched())
    example = {"image": torch.cat([IMAGE, IMAGE]), "twice": True}
    folded, _ = slide_deploy.fold(model, example)
    image = torch.randn(3, 3, 24, 32)
    ours, theirs = (each(image=image, twice=True) for each in (folded, model))
    assert torch.allclose(ours["logits"], theirs["logits"], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fold_with_inputs_keeps_the_type(dtype: torch.dtype) -> None:
    model = drawn(rep_vgg(3, 3)).to(dtype)
    folded, certificate = slide_deploy.fold(model, IMAGE.to(dtype))
    assert len(certificate.merged) == 1
    assert {each.dtype for each in folded.state_dict().values()} == {dtype}
    assert folded(IMAGE.to(dtype)).dtype == dtype


@pytest.mark.slow
def test_fold_with_inputs_takes_checkpoints() -> None:
    folded, certificate = slide_deploy.fold(NANO, torch.zeros(1, 3, 64, 64))
    assert len(certificate.folded) == 2 and certificate.merged == ()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert np.allclose(answer(folded, image), answer(slide_deploy.fold(NANO)[0], image), atol=1e-4)


def test_fold_refuses_what_cannot_be_traced() -> None:
    class Deciding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"Deciding cannot be traced .*: give no inputs, to fold"):
        slide_deploy.fold(Deciding(), IMAGE)
    with pytest.raises(InputError, match="Branched does not take these inputs"):
        slide_deploy.fold(drawn(Branched()), {"picture": IMAGE})


@pytest.mark.parametrize("form", ["depthwise", "running-mean/2", "flat", "FLAT"])
def test_lower_takes_trained_and_folded_modules(form: str) -> None:
    model = network()
    before = state(model)
    wanted = answer(network().eval().double(), IMAGE.double())
    folded, _ = slide_deploy.fold(model)
    for given in (model, folded):
        lowered = slide_deploy.lower(given, form)
        assert held(lowered, LoweredSlideAttention) and not held(lowered, FoldedSlideAttention)
        assert np.allclose(answer(lowered), wanted, atol=1e-5)
    assert state(model) == before and held(folded, FoldedSlideAttention)


def test_lower_takes_a_form_for_each_attention() -> None:
    folded, _ = slide_deploy.fold(NANO)
    first, second = held(folded, FoldedSlideAttention)
    lowered = slide_deploy.lower(
        NANO, {first: "flat", second: slide_deploy.Lowering("running-mean", 2)}
    )
    assert type(lowered.get_submodule(first).form).__name__ == "Flat"
    assert lowered.get_submodule(second).strips == 2
    with pytest.raises(InputError, match=f"no form for {second}"):
        slide_deploy.lower(NANO, {first: "flat"})


@pytest.mark.parametrize(
    ("form", "text"),
    [("auto", "slide_deploy.export takes it"), ("fast", "choose one of depthwise")],
)
def test_lower_refuses_an_unknown_form(form: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        slide_deploy.lower(network(), form)


@pytest.mark.parametrize("function", [slide_deploy.fold, slide_deploy.lower])
@pytest.mark.parametrize(
    ("model", "text"),
    [
        (3, "of type int: give a torch.nn.Module, the path of a checkpoint"),
        (None, "of type NoneType"),
        ("no/such.pth", "does not exist"),
        (torch.jit.script(nn.Linear(2, 2)), "TorchScript"),
    ],
)
def test_a_value_that_is_not_a_network_is_refused(
    function: object, model: object, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        function(model)  # type: ignore[operator]
