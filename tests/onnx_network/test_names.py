"""Certificates and notes name the places of a graph, in as few lines as tell them."""

from pathlib import Path

import pytest

from exporters.shown import branch_lines, grouped, left_lines
from slide_deploy.folding.merging import merge_branches
from slide_deploy.folding.model import Certificate, reparameterize
from slide_deploy.foreign import LeftLayer
from slide_deploy.models.slide_attention import SlideAttention
from slide_deploy.onnx_network.attentions import UncutAttention
from slide_deploy.onnx_network.deployable import _remarks, deployable_onnx
from slide_deploy.passes.report import Refusal
from tests.onnx_network.files import Writer, checkpoint_of, file_of
from tests.onnx_network.random_pairs import SPOILERS, write

WRITERS = (Writer("torchscript", 13, "open"), Writer("dynamo", 18, 1))


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_attentions_have_the_names_of_their_modules(writer: Writer) -> None:
    name = "slide_swin_nano_shifted"
    trained = [
        path.replace(".", "/")
        for path, module in checkpoint_of(name).model.named_modules()
        if isinstance(module, SlideAttention)
    ]
    network = deployable_onnx(file_of(name, writer))
    assert [line.name for line in reparameterize(network.model)[1].folded] == trained
    assert trained


def test_a_sum_is_named_by_the_layers_that_it_reads(tmp_path: Path) -> None:
    seed = SPOILERS.index("a factor that depends on the input")
    write(tmp_path / "pair.onnx", seed, SPOILERS[seed], is_spoilt=True)
    network = deployable_onnx(tmp_path / "pair.onnx")
    arguments = network.call.arguments(network.examples)
    _, reports = merge_branches(network.model, *arguments, any_size=False)
    ((refusal,),) = [report.refusals for report in reports if report.refusals]
    assert refusal.layer == "the graph behind conv_2 (Conv3d) and conv_3 (Conv3d)"


def test_a_thousand_places_share_a_line() -> None:
    refused = tuple(Refusal(f"sum {place}", "their strides differ") for place in range(1000))
    costs = tuple(Refusal(f"pair {place}", f"it takes {place} instead of 9") for place in range(7))
    few = (Refusal("one", "it pads"), Refusal("two", "it pads"), Refusal("two", "it pads"))
    certificate = Certificate((), (), not_merged=(*refused, *costs, *few))
    assert list(branch_lines(certificate)) == [
        "branches: sum 0, sum 1, sum 2, sum 3, sum 4 and 995 others stay as they are: "
        "their strides differ",
        "branches: pair 0, pair 1, pair 2, pair 3, pair 4 and 2 others stay as they are: "
        "in pair 0, it takes 0 instead of 9",
        "branches: one stays as it is: it pads",
        "branches: two stays as it is: it pads",
    ]
    assert list(grouped([], "stays", "stay")) == []
    left = tuple(LeftLayer(f"attn {place}", "Attention", "it clips") for place in range(6))
    (line,) = left_lines(Certificate((), (), left=left))
    assert line.endswith("attn 4 (Attention) and 1 others stay as they are: it clips")


def test_many_softmaxes_share_a_remark() -> None:
    left = [UncutAttention(f"softmax {place}", "no value delimits it") for place in range(7)]
    assert list(_remarks([*left, UncutAttention("other", "its size is unknown")])) == [
        "softmax 0, softmax 1, softmax 2, softmax 3, softmax 4 and 2 others look like slide "
        "attentions and were left: no value delimits it",
        "other looks like a slide attention and was left: its size is unknown",
    ]
