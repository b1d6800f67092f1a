"""SD020: the description of the image and the classes is checked against the graph."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.outcome import ExportOptions
from slide_deploy.graph_checks import check_graph, read_graph, standard_ops
from slide_deploy.images.description import IMAGE_KEY, Preprocessing
from tests.exporters.pixel_networks import Classifier, drawn, exported
from tests.support import FORMATS

PIXELS = Preprocessing((0.3, 0.4, 0.5), (0.2, 0.3, 0.4), embedded=True, layout="nhwc")
OPTIONS = ExportOptions(
    FORMATS, Path(), preprocessing=PIXELS, labels=tuple("abcdefg"), softmax=True
)
LOGITS = ExportOptions(
    FORMATS, Path(), preprocessing=Preprocessing((0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
)


def messages(format: str, options: ExportOptions = OPTIONS, **changes: object) -> list[str]:
    graph = read_graph(exported(drawn(Classifier()), "image", options).paths[format])
    said = {**json.loads(graph.metadata[IMAGE_KEY]), **changes}
    graph = replace(graph, metadata={**graph.metadata, IMAGE_KEY: json.dumps(said)})
    found = check_graph(graph, standard_ops())
    return [each.message for each in found if each.rule == "SD020"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_written_description_is_true_and_a_false_one_is_found(format: str) -> None:
    assert messages(format) == []
    assert messages(format, LOGITS) == []
    for changes, said in (
        ({"input": "other"}, "no input of this name"),
        ({"output": "other"}, "no output of this name"),
        ({"type": "int64"}, "Is described as int64"),
        ({"size": [29, 36]}, "the size (29, 36), and the graph has"),
        ({"labels": ["a"]}, "Has 7 classes, and the file names 1."),
        ({"labels": "abcdefg"}, "is not what slide-deploy writes"),
    ):
        (message,) = messages(format, **changes)
        assert said in message
    (message,) = messages(format, LOGITS, probabilities=True)
    assert message == "Is described as probabilities, and no softmax computes it."
