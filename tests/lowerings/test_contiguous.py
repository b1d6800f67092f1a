"""Every tensor of a lowered model is contiguous, as some converters assume."""

import copy
from collections.abc import Iterator
from functools import cache

import pytest
import torch

from exporters.base import ExportRequest, Traces
from slide_deploy.folding.model import fold_attention, reparameterize
from slide_deploy.formats import FORMATS, Format
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.lowerings.lowered import LoweredSlideAttention
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import image_request, random_attention, random_swin

# Windows in one piece, shifted ones, head products, heads as many as positions, heads of one
# feature, reduced and shared projections.
SWINS = {
    "plain": {},
    "embedding": {"image_size": (64, 32), "ape": True},
    "shifted": {"window_size": 2, "image_size": (64, 64), "depths": (1, 1, 2)},
    "head products": {
        "num_slide_stages": 0,
        "window_size": 12,
        "depths": (2,),
        "num_heads": (2,),
        "image_size": (96, 144),
        "qkv_bias": False,
    },
    "shared": {"dim_reduction": 2, "share_qkv": True, "kernel_size": 5},
    "thin heads": {"num_heads": (8, 16, 4), "share_dwc_kernel": False, "rpb": False},
}


def odd(name: str, tensor: torch.Tensor) -> Iterator[str]:
    """What is wrong with the layout of a tensor, that of axes of one element included."""
    if tensor.stride() != torch.empty(tensor.shape).stride() or tensor.storage_offset():
        yield f"{name} {tuple(tensor.shape)} {tensor.stride()} at {tensor.storage_offset()}"


def odd_tensors(model: torch.nn.Module) -> list[str]:
    named = (*model.named_parameters(), *model.named_buffers())
    return [line for name, tensor in named for line in odd(name, tensor)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", SWINS.values(), ids=SWINS)
@pytest.mark.parametrize("strided", [False, True], ids=["", "channels last"])
def test_tensors_of_lowered_models_are_contiguous(form: str, settings: dict, strided: bool) -> None:
    model = random_swin(**settings)
    if strided:
        model = model.to(memory_format=torch.channels_last)
    folded, _ = reparameterize(model)
    for trunk in (folded, folded.backbone()):
        lowered = lower(trunk, Lowering(form, 2))
        assert odd_tensors(lowered) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["nchw", "tokens"])
def test_tensors_of_a_single_attention_are_contiguous(form: str, layout: str) -> None:
    for settings in ({}, {"num_heads": 8}, {"share_qkv": True}, {"padding_mode": "reflect"}):
        config = SlideAttentionConfig(**({"dim": 8, "num_heads": 2} | settings))
        folded, _ = fold_attention(random_attention(config))
        assert odd_tensors(folded) == []
        folded.layout, folded.resolution = layout, (6, 5)
        written = LoweredSlideAttention(folded, Lowering(form, 2))
        assert odd_tensors(written) == []


@cache
def all_forms(open_batch: bool) -> Traces:
    """A model in which every form stands."""
    model = random_swin(depths=(2, 1, 2), num_heads=(2, 2, 4), image_size=(32, 64), ape=True)
    forms = iter(FORMS)
    lowered = lower(reparameterize(model)[0], lambda _: Lowering(next(forms)))
    return image_request(lowered, (3, 32, 64), open_batch).traces


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "open_batch"),
    [
        # Quick: one format with an open batch. Long: the others with a batch of one.
        pytest.param(
            format,
            open_batch,
            id=f"{format.name}-{open_batch}",
            marks=pytest.mark.full
            if open_batch != bool(place % 2)
            else []
            if open_batch
            else pytest.mark.slow,
        )
        for place, format in enumerate(FORMATS)
        for open_batch in (False, True)
    ],
)
def test_tensors_of_exported_programs_are_contiguous(format: Format, open_batch: bool) -> None:
    """Weights and lifted constants, of all forms in one model, those that passes make included."""
    program = ExportRequest(all_forms(open_batch), {}, passes=format.passes).program
    held = {**program.state_dict, **program.constants}
    tensors = {key: each for key, each in held.items() if isinstance(each, torch.Tensor)}
    assert len(tensors) > 100
    assert [line for key, each in tensors.items() for line in odd(key, each)] == []


def test_lowering_keeps_the_strides_of_the_folded_model() -> None:
    folded, _ = reparameterize(random_swin().to(memory_format=torch.channels_last))
    before = copy.deepcopy(folded)
    lower(folded)
    for ours, theirs in zip(folded.parameters(), before.parameters(), strict=True):
        assert ours.stride() == theirs.stride()
        assert torch.equal(ours, theirs)


def test_share_weights_shares_the_unchanged_tensors() -> None:
    folded, _ = reparameterize(random_swin())
    named = dict(folded.named_parameters())
    shared = dict(lower(folded, Lowering("flat"), share_weights=True).named_parameters())
    apart = dict(lower(folded, Lowering("flat")).named_parameters())
    common = [name for name in named if name in shared and ".attn." not in name]
    assert len(common) > 20
    assert all(shared[name] is named[name] for name in common)
    assert not any(apart[name] is named[name] for name in common)
