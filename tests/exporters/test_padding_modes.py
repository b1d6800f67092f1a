"""Attentions with other than zero padding agree in every form and format, and are declared."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporters.base import exporter_for
from exporters.declarations import request_declarations
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.census import CENSUS_KEY
from slide_deploy.graph_checks.declarations import ATTENTIONS_KEY
from slide_deploy.lowerings import FORMS, Lowering, chosen, lower
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import FORMATS, answers, image_request, random_attention

SHAPE = (8, 7, 6)
# Writing takes seconds for each form. Every form is tested with a mode, and every mode in one strip
# and in two. tests/models/test_padding_mode.py tests every pair in PyTorch.
FORMS_OF_MODES = {
    "reflect": ("running-mean", "depthwise"),
    "replicate": ("flat", "running-mean"),
    "circular": ("depthwise", "flat"),
}


class Sum(nn.Module):
    """An attention for each form, side by side; the feature map is the output of a classifier."""

    def __init__(self, mode: str, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            random_attention(SlideAttentionConfig(8, 2, padding_mode=mode), seed)
            for seed in range(count)
        )

    def forward(self, image: Tensor) -> Tensor:
        out = image
        for layer in self.layers:
            out = out + layer(image)[0]
        return out.flatten(1)


def test_every_form_supports_a_padding_mode() -> None:
    assert {form for forms in FORMS_OF_MODES.values() for form in forms} == FORMS.keys()


@pytest.mark.parametrize(
    ("mode", "formats"),
    [
        ("replicate", ("onnx",)),
        pytest.param("replicate", ("openvino", "coreml"), marks=pytest.mark.full),
        pytest.param("reflect", FORMATS, marks=pytest.mark.full),
        pytest.param("circular", FORMATS, marks=pytest.mark.slow),
    ],
)
def test_files_of_all_forms_agree(mode: str, formats: tuple[str, ...], tmp_path: Path) -> None:
    forms = FORMS_OF_MODES[mode]
    model = Sum(mode, len(forms)).eval()
    folded, certificate = reparameterize(model)
    assert certificate.error < 1e-12 and len(certificate.folded) == len(forms)
    # Half of the forms in two strips.
    written = (Lowering(form, 1 + place % 2) for place, form in enumerate(forms))
    lowerings = chosen(folded, lambda attention: next(written))
    metadata: dict[str, str] = {}
    request = image_request(lower(folded, lowerings), SHAPE, False, metadata)
    metadata |= request_declarations(request, folded, lowerings)
    image = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(image.double()).numpy()
    for format in formats:
        path = tmp_path / f"{mode}{exporter_for(format).suffix}"
        exporter_for(format).write(request, path)
        (answer,) = answers(path, image.numpy()).values()
        assert abs(answer - expected).max() < 1e-5 * abs(expected).max(), format
        graph = read_graph(path)
        assert [violation.message for violation in check_graph(graph, standard_ops())] == []
        entries = json.loads(graph.metadata[ATTENTIONS_KEY])
        assert {entry["padding_mode"] for entry in entries} == {mode}
        # The same file, declared with zero padding: the rule finds that the convolutions differ.
        census = json.loads(graph.metadata[CENSUS_KEY])
        for entry in census["mixings"]:
            if entry.get("kernel") == [3, 3]:
                entry["pads"] = [[1, 1], [1, 1]]
        graph.metadata[CENSUS_KEY] = json.dumps(census)  # type: ignore[index]
        assert {each.rule for each in check_graph(graph, standard_ops())} == {"SD017"}
