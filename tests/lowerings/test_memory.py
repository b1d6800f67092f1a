"""Peak number of feature maps in memory when a graph runs in its written order."""

from functools import cache

import pytest
import torch
from torch.fx import Node

from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import Lowering, lower
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import random_attention

SIDE, CHANNELS, KERNEL = 24, 64, 5
OFFSETS = KERNEL**2
# Operators whose output shares the memory of the input in every reasonable runtime.
VIEWS = (
    "view",
    "reshape",
    "permute",
    "transpose",
    "unsqueeze",
    "squeeze",
    "slice",
    "split",
    "alias",
)


@cache
def maps_alive(lowering: Lowering) -> float:
    """Return the peak of live numbers between operators, in feature maps of all channels."""
    config = SlideAttentionConfig(CHANNELS, 2, KERNEL)
    model = torch.nn.Sequential(random_attention(config)).eval()
    image = torch.zeros(1, CHANNELS, SIDE, SIDE)
    program = torch.export.export(lower(reparameterize(model)[0], lowering), (image,))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    owner: dict[Node, Node] = {}
    for node in nodes:
        name = str(node.target)
        viewed = any(f".{view}" in name for view in VIEWS) or "getitem" in name
        source = next((each for each in node.all_input_nodes if each in owner), None)
        owner[node] = owner[source] if viewed and source is not None else node
    last = {owner[node]: place for place, node in enumerate(nodes)}
    for place, node in enumerate(nodes):
        for source in node.all_input_nodes:
            if source in owner:
                last[owner[source]] = place
    alive, most = 0, 0
    for place, node in enumerate(nodes):
        if owner[node] is node:
            alive += numbers(node)
        most = max(most, alive)
        alive -= sum(numbers(held) for held, end in last.items() if end == place)
    assert alive == 0
    return most / (CHANNELS * SIDE * SIDE)


def numbers(node: Node) -> int:
    value = node.meta["val"]
    return value.numel() if isinstance(value, torch.Tensor) else 0


def test_the_depthwise_form_holds_one_feature_map_for_each_offset() -> None:
    assert maps_alive(Lowering("depthwise")) > OFFSETS


@pytest.mark.parametrize("form", ["running-mean", "flat"])
def test_the_other_forms_hold_fewer_feature_maps(form: str) -> None:
    # Queries, keys, values and intermediates; the logits are K / d feature maps.
    assert maps_alive(Lowering(form)) < OFFSETS / 2


# A form with one feature map for each offset needs more strips to reach the same peak.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "strips"),
    [
        ("depthwise", 8),
        ("running-mean", 4),
        pytest.param("flat", 4, marks=pytest.mark.slow),
    ],
)
def test_strips_reduce_the_peak(form: str, strips: int) -> None:
    whole, cut = maps_alive(Lowering(form)), maps_alive(Lowering(form, strips))
    assert cut < 0.7 * whole
    assert cut < OFFSETS / 2
