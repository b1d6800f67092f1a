"""What is chosen: as measured, else as measured nearby, else the default."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
import torch

from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import load_checkpoint
from slide_deploy.lowerings import Lowering, lower
from slide_deploy.machine import describe
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttentionConfig
from slide_deploy.tuning.choice import choose, chooser, geometry_of, is_near, sensible_strips
from slide_deploy.tuning.store import Table, read_table, shipped_file
from tests.support import GOLDEN, random_attention, random_swin
from tests.tuning.entries import entry, geometry

# What the forms of whole networks are raced on; see studies/forms/.
SMALL = (GOLDEN.parents[1] / "examples/digits.pth", *sorted(GOLDEN.glob("slide_swin_nano*.pth")))


def table(*entries) -> Table:
    return Table(Path("tuning.json"), entries)


def chosen(wanted, *tables, target="onnxruntime:cpu", precision="float32") -> str:
    return str(choose(target, precision, wanted, tables).lowering)


def test_a_measured_geometry_gets_its_winner() -> None:
    found = choose("onnxruntime:cpu", "float32", geometry(), [table(entry("flat/4"))])
    assert found.lowering == Lowering("flat", 4)
    assert found.source == (
        "measured with onnxruntime 1.32.0, 2 threads, on another machine (Some Processor), "
        "2026-01-02"
    )
    here = choose("onnxruntime:cpu", "float32", geometry(), [table(entry(machine=describe()))])
    assert "on this machine" in here.source


def test_the_users_table_comes_first() -> None:
    own, shipped = table(entry("running-mean")), table(entry("flat/4"))
    assert chosen(geometry(), own, shipped) == "running-mean"


def test_the_same_geometry_in_the_second_table_beats_a_near_one_in_the_first() -> None:
    own = table(entry("running-mean", geometry=geometry(channels=128, heads=4)))
    assert chosen(geometry(), own, table(entry("flat/4"))) == "flat/4"


def test_entries_of_another_target_are_ignored() -> None:
    measured = table(entry("flat/4"))
    assert chosen(geometry(), measured, target="openvino:cpu") == "running-mean"


def test_float32_entries_are_used_where_a_precision_has_none() -> None:
    floats, integers = table(entry("flat/4")), table(entry("running-mean", precision="int8"))
    found = choose("onnxruntime:cpu", "int8", geometry(), [floats])
    assert str(found.lowering) == "flat/4"
    assert "in float32, because nothing near is in int8" in found.source
    assert chosen(geometry(), floats, integers, precision="int8") == "running-mean"
    assert chosen(geometry(), integers) == "running-mean"


def test_a_near_float32_entry_beats_a_far_one_of_the_precision() -> None:
    far = entry("running-mean", precision="int8", geometry=geometry(channels=8, heads=1))
    assert chosen(geometry(), table(far), table(entry("flat/4")), precision="int8") == "flat/4"
    assert chosen(geometry(), table(far), precision="int8") == "running-mean"


def test_openvino_computes_float16_files_in_float32() -> None:
    measured = table(entry("running-mean", target="openvino:cpu"))
    assert (
        chosen(geometry(), measured, target="openvino:cpu", precision="float16") == "running-mean"
    )


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("onnxruntime:cpu", "running-mean"),
        ("onnxruntime:cuda", "running-mean"),
        ("openvino:cpu", "running-mean"),
        ("coreml:all", "depthwise"),
        ("coreml:ane", "depthwise"),
        ("another:cpu", "depthwise"),
    ],
)
def test_a_target_without_entries_gets_the_default(target: str, form: str) -> None:
    found = choose(target, "float32", geometry(), [table()])
    assert str(found.lowering) == form
    assert found.source == f"the default for {target}: nothing was measured there"


def test_the_nearest_geometry_has_the_smallest_distance() -> None:
    tables = table(
        entry("flat", geometry=geometry(channels=96)),
        entry("running-mean", geometry=geometry(channels=192, heads=6, height=28, width=28)),
    )
    assert chosen(geometry(channels=128, heads=4), tables) == "flat"
    assert chosen(geometry(channels=256, heads=8, height=28, width=28), tables) == "running-mean"
    assert chosen(geometry(height=200, width=200), tables) == "flat"


def test_the_same_kernel_size_beats_the_same_size() -> None:
    far = geometry(channels=192, heads=6, height=14, width=14, kernel_size=5)
    tables = table(entry("flat"), entry("running-mean", geometry=far))
    assert chosen(geometry(height=57, kernel_size=5), tables) == "running-mean"
    assert chosen(geometry(height=57), tables) == "flat"


@pytest.mark.parametrize("trait", [{"layout": "nchw"}, {"heads": 6, "head_dim": 16}])
def test_layout_and_head_width_count_as_a_factor_of_two_in_size(trait: dict) -> None:
    def measured(height: int) -> Table:
        """Of the wanted trait, but another height; beside one of the wanted size."""
        return table(
            entry("flat"), entry("running-mean", geometry=geometry(height=height, **trait))
        )

    assert chosen(geometry(**trait), measured(height=100)) == "running-mean"
    assert chosen(geometry(**trait), measured(height=120)) == "flat"
    assert chosen(geometry(), measured(height=56)) == "flat"


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ({}, True),
        ({"channels": 192, "heads": 6}, True),
        ({"channels": 48, "heads": 3, "head_dim": 16}, True),
        ({"channels": 224, "heads": 7}, False),
        ({"height": 28}, True),
        ({"height": 28, "width": 55}, False),
        ({"height": 112}, True),
        ({"height": 112, "width": 57}, False),
        ({"heads": 12, "head_dim": 8}, False),
        ({"kernel_size": 5}, False),
        ({"layout": "nchw"}, True),
    ],
)
def test_near_is_a_factor_of_two_and_the_same_kernel(wanted: dict, near: bool) -> None:
    here, there = geometry(), geometry(**wanted)
    assert is_near(here, there) is is_near(there, here) is near
    found = choose("onnxruntime:cpu", "float32", there, [table(entry("flat"))])
    assert ("nothing near was measured" in found.source) is not near
    assert ("--tune" in found.source) is not near


def test_winners_of_near_shipped_entries_are_fast_here_too() -> None:
    """What the factor of near rests on: they take at most 1.05 times as long as the winner."""
    entries = read_table(shipped_file()).entries
    held = 0
    for here, there in permutations(entries, 2):
        form = Lowering.parse(there.winner).form
        ratios = {
            Lowering.parse(each.lowering).form: each.ratio
            for each in sorted(here.trials, key=lambda each: -each.ratio)
        }
        alike = (here.target, here.precision) == (there.target, there.precision)
        if not (alike and is_near(here.geometry, there.geometry)):
            continue
        (won,) = (each.ratio for each in here.trials if each.lowering == here.winner)
        assert ratios[form] / won <= 1.05, f"{form} of {there.geometry} for {here.geometry}"
        held += 1
    assert held > 20


def trained(path: Path) -> Iterator[FoldedSlideAttention]:
    for module in reparameterize(load_checkpoint(path).model)[0].modules():
        if isinstance(module, FoldedSlideAttention):
            yield module


@pytest.mark.parametrize("target", ["onnxruntime:cpu", "openvino:cpu"])
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_the_shipped_table_covers_small_networks(path: Path, target: str) -> None:
    shipped = [read_table(shipped_file())]
    for attention in trained(path):
        found = chooser(target, tables=shipped).choice(attention)
        assert found.entry is not None
        assert "nearest" not in found.source


@pytest.mark.parametrize(
    ("winner", "wanted", "expected"),
    [
        ("flat/4", {"height": 112, "width": 112}, "flat/16"),
        ("flat/4", {"channels": 192, "heads": 6, "height": 28, "width": 28}, "flat/2"),
        ("flat/4", {"channels": 32, "heads": 1, "height": 7, "width": 7}, "flat"),
        ("flat/4", {"channels": 960, "heads": 30}, "flat/16"),  # no more unmeasured
        ("flat/20", {"height": 55}, "flat/20"),  # but where more were measured
        ("flat/4", {"height": 4, "width": 1568}, "flat/2"),  # strips of two rows at least
        ("flat", {"height": 400, "width": 400}, "flat"),
    ],
)
def test_strips_are_scaled_to_the_measured_size(winner, wanted, expected) -> None:
    assert chosen(geometry(**wanted), table(entry(winner))) == expected


def test_a_strip_is_at_least_as_high_as_its_halos() -> None:
    assert sensible_strips(geometry()) == 28
    assert sensible_strips(geometry(kernel_size=5)) == 14
    assert sensible_strips(geometry(kernel_size=1)) == 56
    assert sensible_strips(geometry(height=1)) == 1


def test_entries_with_a_removed_form_are_skipped_with_a_remark() -> None:
    gone, near = entry("dual/2"), entry("flat", geometry=geometry(height=28))
    found = choose("onnxruntime:cpu", "float32", geometry(), [table(gone), table(near)])
    assert found.entry is near
    remark = "entries with a form of another version were skipped: 1; run slide-deploy tune again"
    assert found.source.endswith(remark)
    alone = choose("onnxruntime:cpu", "float32", geometry(), [table(gone)])
    assert (str(alone.lowering), alone.entry) == ("running-mean", None)
    assert alone.source.endswith(remark)
    elsewhere = choose("openvino:cpu", "float32", geometry(), [table(gone)])
    assert "another version" not in elsewhere.source


def test_a_chooser_chooses_for_each_attention_of_a_model() -> None:
    folded, _ = reparameterize(random_swin())
    attentions = [folded.get_submodule(f"layers.{stage}.blocks.0.attn") for stage in range(2)]
    sizes = [(8, 8), (4, 4)]
    measured = table(
        *(
            entry(winner, geometry=geometry_of(attention, size))
            for winner, attention, size in zip(
                ("flat/2", "running-mean"), attentions, sizes, strict=True
            )
        )
    )
    choices = chooser("onnxruntime:cpu", tables=[measured])
    lowered = lower(folded, choices)
    forms = [lowered.get_submodule(f"layers.{stage}.blocks.0.attn") for stage in range(2)]
    assert [(type(each.form).__name__, each.strips) for each in forms] == [
        ("Flat", 2),
        ("RunningMean", 1),
    ]


def test_a_module_without_a_size_gets_the_given_one() -> None:
    folded, _ = reparameterize(random_attention(SlideAttentionConfig(96, 3)))
    measured = [table(entry("depthwise/2", geometry=geometry(layout="nchw")))]
    assert str(chooser("onnxruntime:cpu", "float32", (56, 56), measured)(folded)) == "depthwise/2"
    unknown = chooser("onnxruntime:cpu", tables=measured).choice(folded)
    assert str(unknown.lowering) == "running-mean"
    assert "the size of the feature map is not known" in unknown.source


def test_a_form_that_cannot_write_the_attention_is_not_chosen() -> None:
    folded, _ = reparameterize(random_attention(SlideAttentionConfig(96, 3)))
    with torch.no_grad():
        folded.value_conv.weight[0] += 1.0  # a kernel of the first head alone
    measured = [table(entry("flat", geometry=geometry(layout="nchw")))]
    found = chooser("onnxruntime:cpu", "float32", (56, 56), measured).choice(folded)
    assert str(found.lowering) == "running-mean"
    assert "flat cannot write this attention" in found.source


@pytest.mark.parametrize("target", ["onnxruntime:cpu", "executorch:xnnpack"])
def test_depthwise_is_the_fallback_of_the_fastest_and_the_default_form(target: str) -> None:
    alone = SlideAttentionConfig(96, 3, kernel_size=1)
    folded, _ = reparameterize(random_attention(alone))
    measured = [table(entry("flat", target, geometry=geometry(kernel_size=1)))]
    found = chooser(target, "float32", (56, 56), measured).choice(folded)
    assert str(found.lowering) == "depthwise"
    assert "flat cannot write this attention" in found.source
