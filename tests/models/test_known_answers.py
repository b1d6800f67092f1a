"""Models reproduce the outputs of the published code."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts.registry import architecture_name
from slide_deploy.hosts.slide_swin.published import ARCHITECTURES
from slide_deploy.models.slide_attention import SlideAttention
from slide_deploy.models.slide_swin import SlideSwin
from tests.support import ATTENTIONS, GOLDEN, Golden, attention_config, logits


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.float64, 1e-5)])
def test_logits_and_first_attention_equal_the_known_outputs(
    golden: Golden, dtype: torch.dtype, limit: float
) -> None:
    model = golden.load().model.to(dtype)
    expected = golden.expected
    assert abs(logits(model, expected["image"], dtype) - expected["logits"].numpy()).max() <= limit
    attention = model.layers[0].blocks[0].attn
    out = attention(expected["attn_in"].to(dtype))
    assert (out - expected["attn_out"]).abs().max() <= limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_after_each_stage_equal_the_known_ones(golden: Golden, dtype: torch.dtype) -> None:
    # The stored stages come from a float32 run. A float64 run differs by the rounding of that run,
    # up to 2.6e-5 for values of up to 20. The bound is relative to the largest value.
    model = golden.load().model.to(dtype)
    for index, tokens in enumerate(model.stages(golden.expected["image"].to(dtype))):
        downsample = model.layers[index].downsample
        tokens = tokens if downsample is None else downsample(tokens)
        reference = golden.expected[f"stage{index}"]
        error = (tokens - reference).abs().max()
        assert error <= 1e-4
        assert error <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.float64, 1e-5)])
@pytest.mark.parametrize("folded", [False, True])
def test_attention_modules_equal_the_known_outputs(
    name: str, dtype: torch.dtype, limit: float, folded: bool
) -> None:
    import json

    options = json.loads((GOLDEN / f"{name}.json").read_text())
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    module = SlideAttention(attention_config(options))
    state = {key[6:]: value for key, value in tensors.items() if key.startswith("state.")}
    module.load_state_dict(state, strict=True)
    model = copy.deepcopy(module).to(dtype).eval()
    attention = reparameterize(model)[0] if folded else model
    with torch.no_grad():
        out = attention(tensors["input"].to(dtype))[0]
    assert (out - tensors["output"]).abs().max() <= limit


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_published_sizes_have_the_recorded_parameters(architecture) -> None:
    with torch.device("meta"):
        model = SlideSwin(architecture.config)
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters
    assert architecture_name(architecture.config) == architecture.name
