"""The operators of each form: exactly as many as its formula needs, and no others."""

import math
from collections import Counter
from pathlib import Path

import pytest
from torch import nn

from exporters.base import exporter_for
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import read_graph
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from tests.support import image_request, random_swin, randomise

SIDE = 6
QUICK_FORMS = ("depthwise",)


def attention(kernel_size: int) -> nn.Module:
    """Return a folded slide attention on tokens."""
    config = SlideAttentionConfig(8, num_heads=2, kernel_size=kernel_size)
    model = nn.Sequential(SlideAttention(config, "tokens", (SIDE, SIDE)))
    return reparameterize(randomise(model))[0]


def written(
    format: str, lowering: Lowering, kernel_size: int, folder: Path
) -> tuple[Counter[str], int]:
    """Return the number of each operator in a file of that attention, and the highest rank."""
    path = folder / f"attention{exporter_for(format).suffix}"
    model = lower(attention(kernel_size), lowering).eval()
    exporter_for(format).write(image_request(model, (SIDE * SIDE, 8), False, {}), path)
    graph = read_graph(path)
    ranks = [len(graph.shape(name) or ()) for node in graph.nodes for name in node.outputs]
    return Counter(node.operator for node in graph.nodes), max(ranks)


def onnx_operators(form: str, offsets: int, strips: int) -> Counter[str]:
    """Return the ONNX operators of a form's formula, for K offsets and S strips."""
    k, s = offsets, strips
    found = Counter(Concat=int(s > 1))  # the strips side by side
    found += Counter(Softmax=s * (form != "running-mean"))
    if form == "flat":
        # Projections to queries, keys and values; K products on the way to the logits and K + 1 on
        # the way from the attention. The projection at the end. What is added beside biases: a
        # constant to each neighbour of the keys, the logits of K taps, the values of K + 1.
        found += Counter(MatMul=(3 + 2 * k + 1) * s, Add=(3 + k + (k - 1) + k) * s)
        # Masks of all columns but one: of each neighbour of the keys, and of the columns' sums.
        # Rows of zeros around keys and values.
        side = math.isqrt(k)
        found += Counter(Mul=(2 * k + (side - 1) * (side + 1) + 2) * s, Concat=2 * s)
        return found + Counter(Split=2 * k * s, MatMul=1, Add=1)
    # Queries, keys and values, a convolution each, and the projection at the end.
    found += Counter(Conv=3 * s + 1)
    if form == "depthwise":
        return found + Counter(Conv=2 * s, Mul=2 * s, ReduceSum=2 * s)
    # Keys, sums and spreads of all offsets but one. Exponentials, and the quotients of their
    # running sums.
    found += Counter(Conv=(k + 3 * (k - 1)) * s, Mul=2 * (k - 1) * s, Add=(k - 1) * s)
    found += Counter(ReduceMax=s, Sub=s, Clip=s, Exp=s, MatMul=s, Div=s)
    return found + Counter(Concat=s, Split=2 * s)


ARITHMETIC = {
    *("Add", "Clip", "Concat", "Conv", "Div", "Exp", "MatMul", "Mul", "ReduceMax", "ReduceSum"),
    *("Softmax", "Split", "Sub"),
}
LAYOUT = {"Pad", "Reshape", "Slice", "Transpose"}


def formula_cases() -> list[object]:
    """Quick: a form in two strips. Slow: all forms with the larger kernel. Full: the rest."""
    long = [(form, 5, 2) for form in FORMS]
    return [
        *((form, 3, 2) for form in QUICK_FORMS),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in long),
        *(
            pytest.param(form, 3, strips, marks=pytest.mark.full)
            for form in FORMS
            for strips in (1, 2)
            if form not in QUICK_FORMS or strips == 1
        ),
    ]


@pytest.mark.parametrize(("form", "kernel_size", "strips"), formula_cases())
def test_onnx_files_have_the_operators_of_the_formula(
    form: str, kernel_size: int, strips: int, tmp_path: Path
) -> None:
    operators, rank = written("onnx", Lowering(form, strips), kernel_size, tmp_path)
    assert operators.keys() <= ARITHMETIC | LAYOUT
    found = Counter({name: n for name, n in operators.items() if name in ARITHMETIC})
    assert found == onnx_operators(form, kernel_size**2, strips)
    assert rank == 4


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=[] if form in QUICK_FORMS else pytest.mark.slow) for form in FORMS],
)
@pytest.mark.parametrize("format", [pytest.param("openvino", marks=pytest.mark.full), "coreml"])
def test_no_form_computes_a_shape_or_has_a_rank_above_four(
    format: str, form: str, tmp_path: Path
) -> None:
    operators, rank = written(format, Lowering(form, 2), 3, tmp_path)
    assert not {name.lower() for name in operators} & {"shape", "shapeof", "gather", "expand"}
    assert rank == 4


def test_onnx_runtime_fuses_a_matmul_and_its_bias_only_in_the_head(
    tmp_path: Path,
) -> None:
    """The fused operator first copies the bias to every row: see ``passes/biases_apart.py``."""
    import onnx
    import onnxruntime

    exporter = exporter_for("onnx")
    model = lower(
        reparameterize(
            random_swin(
                num_slide_stages=2, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), image_size=(64, 64)
            )
        )[0]
    )
    request = image_request(model, (3, 64, 64), passes=exporter.passes())
    exporter.write(request, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    operators = Counter(node.op_type for node in nodes)
    assert operators["Gemm"] == 1
