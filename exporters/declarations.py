"""What a file declares of its structure, for the graph rules to hold the graph against."""

import json
from collections import Counter
from collections.abc import Mapping

from torch import nn

from slide_deploy.graph_checks.declarations import ATTENTIONS_KEY, PRECISION_KEY
from slide_deploy.graph_checks.normalisations import NORMALISATIONS_KEY
from slide_deploy.lowerings import Lowering
from slide_deploy.models.slide_attention import FoldedSlideAttention


def declarations(
    folded: nn.Module, lowerings: Mapping[str, Lowering], precision: str = "float32"
) -> dict[str, str]:
    """The entries of a file's metadata that rules read.

    Args:
        folded: the model before it is lowered, which still knows its slide attentions.
        lowerings: how each is written, by its name.
        precision: in which the file is written.
    """
    return {
        PRECISION_KEY: precision,
        ATTENTIONS_KEY: json.dumps(_slide_attentions(folded, lowerings)),
        NORMALISATIONS_KEY: json.dumps(_normalisations(folded)),
    }


def _slide_attentions(
    folded: nn.Module, lowerings: Mapping[str, Lowering]
) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "channels": module.config.inner_dim,
            "kernel_size": module.config.kernel_size,
            "heads": module.config.num_heads,
            "head_dim": module.config.head_dim,
            "lowering": lowerings[name].form,
            "strips": lowerings[name].strips,
            "padding_mode": module.config.padding_mode,
        }
        for name, module in folded.named_modules()
        if isinstance(module, FoldedSlideAttention)
    ]


def _normalisations(folded: nn.Module) -> list[dict[str, object]]:
    """How many there are of each epsilon."""
    epsilons = Counter(
        module.eps for module in folded.modules() if isinstance(module, nn.LayerNorm)
    )
    return [{"epsilon": epsilon, "count": count} for epsilon, count in epsilons.items()]
