"""What the trained model answers, in float64: the truth that written files are held against."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.locate import LayerOutput
from slide_deploy.models.slide_attention import SlideAttentionBase
from slide_deploy.models.slide_swin import Block, PatchEmbed, PatchMerging, SlideSwinTrunk
from slide_deploy.models.window_attention import WindowAttention
from slide_deploy.parity import Answers, Case

# Lowered, their inner values are arranged differently: they are looked at from outside.
_WHOLE = (SlideAttentionBase, WindowAttention, PatchMerging)


def reference_answers(model: SlideSwinTrunk, cases: Sequence[Case]) -> list[Answers]:
    """Logits, or the maps of all stages, of every case, in float64; the model is left as it is."""
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        return [_answers(exact, torch.from_numpy(case.images).double()) for case in cases]


def _answers(model: SlideSwinTrunk, images: Tensor) -> Answers:
    answer = model(images)
    answers = answer if isinstance(answer, tuple) else (answer,)
    values = [value.numpy() for value in answers]
    return dict(zip(model.output_names, values, strict=True))


def layer_outputs(model: nn.Module, image: np.ndarray) -> list[LayerOutput]:
    """Run a model in float64 and keep what every layer answers.

    Args:
        model: as trained; left as it is.
        image: (1, channels, height, width).
    """
    exact = copy.deepcopy(model).double()
    outputs: list[LayerOutput] = []

    def keep(name: str) -> None:
        parent = exact.get_submodule(name.rpartition(".")[0])

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            otherwise: tuple[Tensor, ...] = ()
            if isinstance(module, nn.LayerNorm) and isinstance(parent, Block):
                # What is left where the projection behind it took over; see lowerings.normalised.
                plain = functional.layer_norm(inputs[0], module.normalized_shape, eps=module.eps)
                otherwise = plain, plain + 1
            if isinstance(parent, PatchEmbed) and parent.norm is not None and output.dim() == 4:
                # Where its weights take the mean off; see lowerings.map_stages.
                otherwise = (output - output.mean(dim=1, keepdim=True),)
            outputs.append(LayerOutput(name, output.numpy(), tuple(map(Tensor.numpy, otherwise))))

        exact.get_submodule(name).register_forward_hook(hook)

    inside: set[str] = set()
    for name, module in exact.named_modules():
        if isinstance(module, _WHOLE):
            inside |= {f"{name}.{below}" for below, _ in module.named_modules() if below}
        container = isinstance(module, nn.ModuleList)
        if name and name not in inside and not container:
            keep(name)
    with torch.no_grad():
        exact(torch.from_numpy(image).double())
    return outputs
