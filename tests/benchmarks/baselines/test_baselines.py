import pytest
import torch
from torch import nn

from benchmarks.baselines.matmuls import Matmuls, MatmulSize, matmuls_of
from benchmarks.baselines.registry import BASELINES, baseline_named, write_baseline
from benchmarks.baselines.subject import attention, network
from benchmarks.baselines.unfold import UnfoldAttention
from slide_deploy.graph_checks import inspect, read_graph
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from tests.support import random_swin, randomise


def test_unfold_equals_slide_attention_without_learned_neighbours():
    config = SlideAttentionConfig(32, 2, kernel_size=3)
    slide, unfold = SlideAttention(config), UnfoldAttention(config)
    shift = slide.dep_conv.weight.clone()
    randomise(slide)
    with torch.no_grad():
        slide.dep_conv.weight.copy_(shift)
        for branch in (slide.dep_conv.bias, slide.dep_conv1.weight, slide.dep_conv1.bias):
            branch.zero_()
        unfold.qkv.load_state_dict(slide.qkv.state_dict())
        unfold.proj.load_state_dict(slide.proj.state_dict())
        unfold.relative_position_bias.copy_(slide.relative_position_bias_table.squeeze(-1))
        image = torch.randn(2, 32, 7, 5, dtype=torch.float64)
        torch.testing.assert_close(unfold.double()(image)[0], slide.double()(image)[0])


def test_the_matmuls_of_one_attention_are_its_projections(tmp_path):
    subject = attention("96x14x14")
    path = tmp_path / "matmuls.onnx"
    write_baseline(baseline_named("matmuls"), subject, path)
    found = inspect(read_graph(path))
    assert found.macs == 14 * 14 * (96 * 3 * 96 + 96 * 96)
    assert dict(found.operators) == {"MatMul": 2, "Slice": 2}


def test_the_matmuls_of_a_network_are_all_its_multiplications_except_neighbours():
    subject = network("slide_swin_tiny", (224, 224))
    sizes = matmuls_of(subject.branched(), subject.example())
    macs = sum(torch.Size(each.left).numel() * each.right[-1] for each in sizes)
    neighbours = sum(2 * 2 * 81 * dim * side**2 for dim, side in ((96, 56), (192, 28)))
    # 4,681,135,104 is what `slide-deploy inspect` counts in the folded file.
    assert macs == 4_681_135_104 - neighbours
    assert len(Matmuls(sizes).shapes) < len(sizes)


# Blocks, channels, side of the feature map, expansion of the MLP, numbers in a patch.
SLIDE_PVT_SMALL = (
    *((3, 64, 56, 8, 48), (4, 128, 28, 8, 256)),
    *((6, 320, 14, 4, 512), (3, 512, 7, 4, 1280)),
)


@pytest.mark.slow
def test_the_matmuls_include_reduced_attention_and_its_reductions():
    """Convolutions reduce the feature maps of keys and values."""
    subject = network("slide_pvt_small", (224, 224))
    sizes = matmuls_of(subject.branched(), subject.example())
    macs = sum(torch.Size(each.left).numel() * each.right[-1] for each in sizes)
    expected = 512 * 1000  # the classifier
    for depth, dim, side, wide, patch in SLIDE_PVT_SMALL[:2]:  # stages that slide
        block = dim**2 * (4 + 2 * wide)  # q, k, v and what joins the heads; the MLP
        expected += side**2 * (depth * block + dim * patch)
    for depth, dim, side, wide, patch in SLIDE_PVT_SMALL[2:]:
        queries = side**2 + (side == 7)  # a class token in the last stage
        keys = 49 if side == 14 else queries
        reduction = 4 * dim**2 * 49 if side == 14 else 0
        attention = dim**2 * (2 * queries + 2 * keys) + 2 * queries * keys * dim
        block = attention + reduction + 2 * wide * dim**2 * queries
        expected += depth * block + dim * patch * side**2
    assert macs == expected
    # Five heads of the third stage: 196 queries, 49 keys.
    assert MatmulSize((1, 5, 196, 64), (1, 5, 64, 49), learned=False) in sizes
    # Its reduction, 2 x 2 pixels of 320 channels.
    assert MatmulSize((1, 49, 1280), (1280, 320), learned=True) in sizes


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.overlapping = nn.Conv2d(3, 8, 7, stride=4, padding=3)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.table = nn.Parameter(torch.ones(8, 5))

    def forward(self, image):
        maps = self.depthwise(self.overlapping(image))
        tokens = maps.flatten(2).transpose(1, 2)
        return tokens @ self.table, (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens


def test_a_convolution_multiplies_the_pixels_under_its_kernel_once_for_each_position():
    assert matmuls_of(Mixed().eval(), torch.zeros(1, 3, 32, 24)) == (
        MatmulSize((1, 48, 147), (147, 8), learned=True),
        MatmulSize((1, 48, 8), (8, 5), learned=True),
        MatmulSize((1, 1, 48, 8), (1, 1, 8, 48), learned=False),
        MatmulSize((1, 1, 48, 48), (1, 1, 48, 8), learned=False),
    )


def test_no_matmul_is_computed_twice():
    """A runtime computes two equal matmuls only once."""
    settings = {"depths": (1, 3), "num_heads": (1, 2), "num_slide_stages": 1}
    model = random_swin(**settings)
    matmuls = Matmuls(matmuls_of(model, torch.zeros(1, 3, 32, 32))).eval()
    inputs = tuple(map(torch.randn, matmuls.shapes))
    program = torch.export.export(matmuls, inputs)
    sides = [node.args for node in program.graph.nodes if "matmul" in str(node.target)]
    assert len(sides) == len(matmuls.sizes) == len(set(sides))
    for output, each in zip(matmuls(*inputs), matmuls.sizes, strict=True):
        assert output.shape == (1, 1, *each.left[2:-1], each.right[-1])


@pytest.mark.parametrize("name", ["branched", "swin", "unfold"])
def test_no_baseline_has_operations_that_a_runtime_removes(name):
    """Initial biases and normalisations add zero and multiply by one."""
    model, _ = baseline_named(name)(network("slide_swin_tiny", (224, 224)))
    learned = [each for key, each in model.named_parameters() if each.ndim == 1 or "bias" in key]
    assert learned
    for parameter in learned:
        assert not ((parameter == 0) | (parameter == 1)).any()


@pytest.mark.slow
def test_the_file_of_every_baseline_can_be_read(tmp_path):
    for name, build in BASELINES.items():
        if name == "swin":  # a whole network
            continue
        path = tmp_path / f"{name}.onnx"
        write_baseline(build, attention("32x8x8"), path)
        assert inspect(read_graph(path)).macs > 0
