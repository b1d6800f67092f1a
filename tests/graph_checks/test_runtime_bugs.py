"""Known runtime bugs: each is reproduced on the installed runtime, and only then believed."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from slide_deploy.graph_checks import Report, check_file
from slide_deploy.graph_checks.policy import RuntimeBugTarget
from slide_deploy.graph_checks.rules.runtime_bugs import RUNTIME_BUGS
from tests.graph_checks.attention_onnx import Case, answer, tokens, write
from tests.graph_checks.small_models import export
from tests.support import logits, random_swin

FORMS = ("tokens first", "heads first", "features first")
LIMIT = 1e-4  # what is wrong is wrong by 0.1 and more


def openvino_answer(path: Path, x: np.ndarray) -> np.ndarray:
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(x)[0])


def openvino_version() -> str:
    openvino = pytest.importorskip("openvino")
    return str(openvino.get_version()).split("-")[0]


def as_ir(path: Path) -> Path:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(path)
    openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
    return path.with_suffix(".xml")


def bugs_met(report: Report) -> list[str]:
    return [found.severity for found in report.violations if found.rule == "SD018"]


@pytest.mark.parametrize(
    "heads_and_tokens", [(8, 8), (8, 7), pytest.param((7, 8), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("transposed_result", [True, False])
@pytest.mark.parametrize("values", FORMS)
@pytest.mark.parametrize("query", FORMS)
def test_openvino_computes_wrongly_exactly_where_the_rule_reports_it(
    tmp_path: Path,
    query: str,
    values: str,
    transposed_result: bool,
    heads_and_tokens: tuple[int, int],
) -> None:
    case = Case(*heads_and_tokens, query, transposed_result, values)
    path = write(case, tmp_path / "attention.onnx")
    ir = as_ir(path)
    x = tokens(case)
    expected = answer(case, x)
    wrong = not np.abs(openvino_answer(path, x) - expected).max() <= LIMIT
    assert wrong == (not np.abs(openvino_answer(ir, x) - expected).max() <= LIMIT)
    if openvino_version() in RUNTIME_BUGS[0].versions:
        assert bugs_met(check_file(path)) == ["warning"] * wrong
        assert bugs_met(check_file(ir)) == ["error"] * wrong
    else:
        assert not wrong, f"OpenVINO {openvino_version()} is wrong too: add it to the bug"


def test_policies_can_name_the_targets_of_all_runtime_bugs() -> None:
    assert {bug.target for bug in RUNTIME_BUGS} == set(get_args(RuntimeBugTarget))


def test_a_version_that_fixes_the_bug_is_noticed(tmp_path: Path) -> None:
    case = Case(heads=16, tokens=16, query="heads first", transposed_result=True)
    x = tokens(case)
    found = openvino_answer(write(case, tmp_path / "attention.onnx"), x)
    wrong = np.abs(found - answer(case, x)).max() > LIMIT
    assert wrong == (openvino_version() in RUNTIME_BUGS[0].versions), (
        "the versions in slide_deploy/graph_checks/runtime_bugs.py are out of date"
    )


def test_an_open_batch_is_computed_correctly_and_gives_a_warning(tmp_path: Path) -> None:
    case = Case(8, 8, "tokens first", transposed_result=False, open_batch=True)
    path = as_ir(write(case, tmp_path / "attention.onnx"))
    assert bugs_met(check_file(path)) == ["warning"]
    x = tokens(case)
    np.testing.assert_allclose(openvino_answer(path, x), answer(case, x), atol=LIMIT)


def test_attention_as_one_operator_is_computed_wrongly_and_found_too(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    from openvino import opset13

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 32)).astype(np.float32)
    weights = rng.standard_normal((3, 32, 32)).astype(np.float32) / 32**0.5
    given = opset13.parameter(x.shape, np.float32)
    projected = [opset13.matmul(given, opset13.constant(w), False, False) for w in weights]
    parts = [opset13.reshape(part, [2, 8, 8, 4], False) for part in projected]
    result = opset13.scaled_dot_product_attention(*parts, causal=False)
    model = openvino.Model([opset13.transpose(result, [0, 2, 1, 3])], [given])
    path = tmp_path / "attention.xml"
    openvino.save_model(model, path, compress_to_fp16=False)

    heads = torch.from_numpy((x[None] @ weights[:, None]).reshape(3, 2, 8, 8, 4))
    expected = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2)
    wrong = not np.abs(openvino_answer(path, x) - expected.numpy()).max() <= LIMIT
    assert wrong == (openvino_version() in RUNTIME_BUGS[0].versions)
    assert bugs_met(check_file(path)) == ["error"]


# Each makes other sizes of the graph coincide: K is 9, a stage of 32 pixels has 8x8 positions.
COINCIDENCES: list[dict[str, Any]] = [
    {"embed_dim": 8, "num_heads": (2, 4), "window_size": 2},  # 4 heads, 4 tokens, d 4
    {"embed_dim": 16, "num_heads": (4, 16), "window_size": 4},  # 16 heads, 16 tokens
    {"embed_dim": 32, "num_heads": (8, 16), "window_size": 4},  # the same with d 4
    {"embed_dim": 9, "num_heads": (1, 2), "image_size": (24, 24), "window_size": 3},  # d is K
    {"embed_dim": 81, "num_heads": (9, 9), "image_size": (24, 24), "window_size": 3},  # all are 9
    {"embed_dim": 64, "num_heads": (8, 8), "window_size": 4},  # C is the number of positions
    {"embed_dim": 16, "depths": (2,), "num_heads": (4,), "num_slide_stages": 0, "window_size": 4},
    {"embed_dim": 16, "depths": (2,), "num_heads": (16,), "num_slide_stages": 0, "window_size": 4},
]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(each, marks=pytest.mark.full if place % 2 else pytest.mark.slow)
        for place, each in enumerate(COINCIDENCES)
    ],
)
def test_exported_files_are_computed_correctly_where_sizes_coincide(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = random_swin(**{"depths": (1, 1), "num_slide_stages": 1, **settings})
    files = export(model, tmp_path)
    for path in files.values():
        assert check_file(path).violations == ()
    image = torch.randn(1, 3, *model.config.image_size)
    expected = logits(model, image, torch.float64)
    answers = [
        onnxruntime.InferenceSession(files["onnx"]).run(None, {"image": image.numpy()})[0],
        openvino_answer(files["onnx"], image.numpy()),
        openvino_answer(files["openvino"], image.numpy()),
    ]
    for found in answers:
        np.testing.assert_allclose(found, expected, atol=LIMIT)
