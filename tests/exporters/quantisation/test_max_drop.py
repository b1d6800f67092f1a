"""``--max-drop``: operators of an int8 file return to float until the limit is kept."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import slide_deploy
from exporters.quantisation.accuracy import fewest
from slide_deploy import InputError
from slide_deploy.graph_checks import check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import float_operators
from slide_deploy.verification.reference_outputs.reference_file import reference_path
from tests.exporters.quantisation.colours import archive, colours, image, pictures

FORMATS = ("onnx", "openvino")


def export(out: Path, *spoiled: str, formats=FORMATS, **options):
    options.setdefault("calibration", pictures(200))
    return slide_deploy.export(
        colours(*spoiled), image(), to=formats, precision="int8", out=out, **options
    )


@pytest.mark.parametrize("format", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_worst_layer_returns_to_float_and_nothing_else(tmp_path: Path, format: str) -> None:
    result = export(tmp_path, "second", formats=format, max_drop=0.5)
    file = result.file(format)
    price = file.price
    assert result.passed, result.problems
    assert price is not None
    assert [each.layer for each in price.returned] == ["second"]
    left = {"onnx": 1, "openvino": 2}  # OpenVINO gains in the first convolution, too
    assert (price.quantised, price.drop) == (left[format], 0.0)
    assert price.returned[0].snr_db < 12
    assert price.pictures == 200 - 128  # without those that ranges are measured on
    assert price.trained > 0.9 * price.pictures
    graph = read_graph(file.paths[0])
    named = json.loads(graph.metadata[FLOAT_OPERATORS_KEY])
    assert tuple(named) == float_operators(graph)
    assert price.returned[0].operator in named
    assert not tuple(check_graph(graph, standard_ops()))
    (entry,) = json.loads(result.manifest.read_text())["files"]
    assert entry["price"]["returned"][0]["layer"] == "second"
    assert result.to_dict()["files"][0]["price"]["returned"][0]["layer"] == "second"
    assert "back in float: second (alone it leaves" in " ".join(repr(result).split())
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json",
        *(path.name for path in file.paths),
        reference_path(file.paths[0]).name,
    }


def test_a_file_that_loses_nothing_stays_as_it_is(tmp_path: Path) -> None:
    result = export(tmp_path, formats="onnx", max_drop=0)
    price = result.file("onnx").price
    assert price is not None
    assert (price.returned, price.quantised, price.drop) == ((), 2, 0.0)


def test_a_limit_that_nothing_keeps_removes_the_file(tmp_path: Path, run) -> None:
    result = export(tmp_path, "first", "second", formats="onnx", max_drop=0.5)
    assert not result.passed
    assert result.paths == {}
    assert not (tmp_path / "colours.onnx").exists()
    (price,) = (file.price for file in result.files)
    assert price is not None
    assert len(price.returned) == 1
    problems = " ".join(result.problems)
    assert "with 1 of 2 operators in float, more than --max-drop 0.5; it was removed." in problems


def test_without_a_limit_a_wrong_file_is_removed_with_advice(tmp_path: Path) -> None:
    result = export(tmp_path, "second", formats="onnx")
    assert result.paths == {}
    (problem,) = result.problems
    assert "dB, error" in problem
    assert "8 dB and 50% are allowed); it was removed. Give --max-drop" in problem
    assert "or give more calibration images" in problem


def test_other_pictures_than_those_for_calibration(tmp_path: Path) -> None:
    result = export(
        tmp_path,
        formats="onnx",
        calibration=archive(tmp_path / "few.npz"),
        max_drop=0.5,
        data=pictures(30, 7),
    )
    price = result.file("onnx").price
    assert price is not None
    assert (price.pictures, price.damaged) == (30, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": -1}, "-1 is not a limit"),
        ({"max_drop": math.nan}, "nan is not a limit"),
        (
            {"max_drop": 0.5, "precision": "int8-weights"},
            "int8-weights does not use examples",
        ),
        ({"max_drop": 0.5, "precision": "float32"}, "float32 does not use examples"),
        ({"data": "x"}, "give `max_drop` as well"),
    ],
)
def test_invalid_limits_are_refused(tmp_path: Path, options, message: str) -> None:
    wanted = {"precision": "int8", "calibration": pictures()} | options
    with pytest.raises(InputError, match=message):
        slide_deploy.export(colours(), image(), to="onnx", out=tmp_path, **wanted)
    assert list(tmp_path.iterdir()) == []


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for place, path in enumerate(sorted(pictures().rglob("*.png"))):
        (flat / f"{place}.png").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="needs labelled images"):
        export(tmp_path / "out", calibration=flat, max_drop=0.5)
    with pytest.raises(InputError, match=r"few\.npz has none: give"):
        export(tmp_path / "out", calibration=archive(tmp_path / "few.npz"), max_drop=0.5)


def test_images_used_for_ranges_do_not_measure_accuracy(tmp_path: Path) -> None:
    from exporters.quantisation import calibration

    few = pictures(8, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "MEASURED", 6)
        patch.setattr(calibration, "HELD_BACK", 2)
        result = export(tmp_path, formats="onnx", calibration=few, max_drop=100)
    price = result.file("onnx").price
    assert price is not None
    assert price.pictures == 2


@pytest.mark.parametrize("most", [1, 2, 3, 7, 33])
def test_the_smallest_number_is_found_with_few_attempts(most: int) -> None:
    for wanted in [*range(1, most + 1), None]:
        tried: list[int] = []

        def keeps(count: int, wanted=wanted, tried=tried) -> bool:
            tried.append(count)
            return wanted is not None and count >= wanted

        assert fewest(most, keeps) == wanted
        assert len(tried) == len(set(tried))
        assert len(tried) <= 2 * math.ceil(np.log2(most + 1)) + 1
    assert fewest(0, lambda count: True) is None


def test_the_command_line_lists_operators_that_returned(tmp_path: Path, run) -> None:
    factory = "tests.exporters.quantisation.colours:colours"
    code, out, err = run(
        "export",
        "--model",
        factory,
        "--input",
        "image=1x3x16x16",
        "--to",
        "onnx",
        "--precision",
        "int8",
        "--calibration",
        pictures(),
        "--max-drop",
        "0.5",
        "--out",
        tmp_path,
    )
    assert code == 0, err
    assert "loses 0.00 points of top-1 on" in " ".join(out.split())
    assert "… evaluate onnx on 15 images" in err
