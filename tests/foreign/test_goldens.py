"""Golden attentions with known outputs fold exactly in classes that are not of this project."""

import pytest
import torch
from torch import nn

from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import Lowering, lower
from tests.foreign.goldens import Nameless, Residual, golden
from tests.support import ATTENTIONS


@pytest.mark.parametrize("nameless", [False, True])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_goldens_in_other_classes_fold_to_the_known_outputs(name: str, nameless: bool) -> None:
    layer, maps, known = golden(name)
    branches = 3 if hasattr(layer, "dep_conv2") else 2
    model = nn.Sequential(Residual(Nameless(layer) if nameless else layer)).eval()
    folded, certificate = reparameterize(model)
    (line,) = certificate.folded
    assert line.name == "0.layer" and len(line.branches) == branches
    assert line.error < 1e-11 < line.rounding < 1e-5
    assert (line.scale is None) == nameless
    for form in (folded, lower(folded, Lowering("flat")), lower(folded, Lowering("running-mean"))):
        with torch.no_grad():
            output = form(maps) - maps
        assert (output - known).abs().max() < 1e-5
