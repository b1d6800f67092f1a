"""The noise of each layer of a quantised file, against the trained network."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import slide_deploy
from slide_deploy.backends import values_of
from slide_deploy.verification.divergence import LayerOutput
from slide_deploy.verification.noise import noise_by_layer, worst_first
from tests.exporters.quantisation.colours import colours, image, pictures
from tests.shared import once

FORMATS = ("onnx", "openvino")
MODEL = "tests.exporters.quantisation.colours:colours"


def quantised(format: str, *spoiled: str) -> Path:
    def export(out: Path) -> Path:
        return slide_deploy.export(
            colours(*spoiled),
            image(),
            to=format,
            precision="int8",
            calibration=pictures(),
            keep_failed=True,
            out=out,
        ).paths[format]

    return once(("noise", format, spoiled), export)


@pytest.mark.slow_but_first
@pytest.mark.parametrize("format", FORMATS)
def test_the_layer_that_adds_most_noise_comes_first(format: str) -> None:
    verdict = slide_deploy.verify(
        quantised(format, "first"), colours("first"), image(), calibration=pictures(), locate=True
    )
    assert verdict.first_divergence is not None
    noise = {each.layer: each for each in verdict.first_divergence.noise}
    assert set(noise) == {"patches", "first", "second", "head"}
    patches = noise["patches"]
    assert patches.snr_db is not None
    assert patches.snr_db > 80  # it is a float in the file, and reads the image itself
    assert patches.reads_db == math.inf
    first = noise["first"]
    assert first.snr_db is None or first.snr_db < 20
    entry = json.loads(json.dumps(verdict.to_dict()))["first_divergence"]["noise"][0]
    assert entry["layer"] == "patches"


@pytest.mark.parametrize("format", FORMATS)
def test_intermediates_of_quantised_files_are_floats(format: str) -> None:
    values = values_of(quantised(format), {"image": image().numpy()})
    assert values
    assert {value.dtype.kind for value in values.values()} == {"f"}


@pytest.mark.parametrize("format", FORMATS)
def test_the_command_line_shows_a_table_and_a_line(format: str, run, tmp_path: Path) -> None:
    target = tmp_path / "verdict.json"
    told = ("verify", quantised(format), "--model", MODEL, "--input", "image=1x3x16x16")
    code, out, err = run(*told, "--calibration", pictures(), "--locate", "--json", target)
    assert code == 0, err
    text = " ".join(out.split())
    assert "Noise by layer, against the trained network in float64" in text
    assert "noise: 4 of 4 layers measured, SNR" in text
    noise = json.loads(target.read_text())["locate"]["noise"]
    assert [each["layer"] for each in noise] == ["patches", "first", "second", "head"]
    code, out, _ = run(*told, "--precision", "float32", "--locate")
    assert code == 1  # eight bits are no float32
    assert "Noise by layer" not in out


def test_shares_match_the_added_noise() -> None:
    random = np.random.default_rng(0)
    exact = [random.standard_normal(4000) for _ in range(3)]
    errors = [random.standard_normal(4000) for _ in range(3)]
    wanted = [0.0, 0.1, 0.2]  # root mean square of the error of each
    values = {
        str(place): value + size * error
        for place, (value, size, error) in enumerate(zip(exact, wanted, errors, strict=True))
    }
    layers = [
        LayerOutput("front", exact[0], reads=np.ones(3)),
        LayerOutput("middle", exact[1], source=0),
        LayerOutput("back", exact[2], source=1),
        LayerOutput("whole", exact[2], source=0, is_container=True),
        LayerOutput("merged", random.standard_normal(4000), source=2),
    ]
    front, middle, back, whole, merged = noise_by_layer(layers, values, 5.0)
    assert (front.snr_db, front.reads_db, front.arose) == (math.inf, None, None)
    assert middle.snr_db == pytest.approx(20, abs=0.3)
    assert middle.arose == 1.0
    assert back.snr_db == pytest.approx(14, abs=0.3)
    assert back.arose == pytest.approx(0.75, abs=0.03)
    assert (merged.snr_db, merged.arose) == (None, None)
    assert [each.layer for each in worst_first([front, middle, back, whole, merged])] == [
        "back",
        "middle",
    ]


def test_values_that_are_not_finite_match_no_layer() -> None:
    layers = [LayerOutput("layer", np.ones(4), reads=np.ones(4))]
    (found,) = noise_by_layer(layers, {"a": np.full(4, np.nan), "b": np.full(4, np.inf)}, 5.0)
    assert (found.snr_db, found.reads_db, found.arose) == (None, None, None)


def test_feature_maps_are_found_in_either_layout() -> None:
    tokens = torch.randn(1, 6, 5).numpy()
    (found,) = noise_by_layer(
        [LayerOutput("layer", tokens, reads=tokens)], {"map": tokens.transpose(0, 2, 1)}, 5.0
    )
    assert (found.snr_db, found.arose) == (math.inf, 0.0)
