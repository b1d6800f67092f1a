"""Settings that a file states beside its tensors are applied, refused or reported."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from slide_deploy.models.slide_swin import SlideSwin
from tests.support import random_swin


def saved(tmp_path: Path, **beside: Any) -> Path:
    torch.save({"model": random_swin().state_dict(), **beside}, tmp_path / "run.pth")
    return tmp_path / "run.pth"


def authors(**swin: Any) -> dict[str, Any]:
    return {"DATA": {"IMG_SIZE": 32}, "MODEL": {"TYPE": "slide_swin", "SWIN": swin}}


@pytest.mark.parametrize(
    "beside",
    [
        {"config": authors(QK_SCALE=0.75)},
        {"hyper_parameters": {"qk_scale": 0.75}},
        {"args": {"model": {"kwargs": [{"qk_scale": 0.75}]}}},
        {"meta": {"config": "model = dict(backbone=dict(qk_scale=0.75, depths=[1, 1]))"}},
        {"cfg": "MODEL:\n  SWIN:\n    QK_SCALE: 0.75\n"},
        {"args": {"opts": ["MODEL.SWIN.QK_SCALE", "0.75"]}},
        {"config": {"model/qk_scale": 0.75}},
        {"hyper_parameters": {"qk_scale": "0.75"}},
        {"hyper_parameters": {"qk_scale": torch.tensor(0.75)}},
    ],
)
def test_a_scale_of_the_queries_is_honoured_in_both_attentions(
    beside: dict, tmp_path: Path
) -> None:
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loaded = load_checkpoint(saved(tmp_path, **beside), Overrides(image_size=(32, 32)))
    assert any("scaled by 0.75" in remark for remark in loaded.remarks)
    trained = random_swin(qk_scale=0.75)
    assert isinstance(loaded.model, SlideSwin)
    assert torch.equal(loaded.model(image), trained(image))
    usual = random_swin()(image)
    assert not torch.allclose(trained(image), usual, atol=1e-3)


@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_an_empty_scale_means_the_usual_one(value: object, tmp_path: Path) -> None:
    path = saved(tmp_path, config=authors(QK_SCALE=value))
    assert load_checkpoint(path).config.qk_scale is None


@pytest.mark.parametrize(
    "value", ["large", [1.0], True, float("nan"), float("inf"), 1e300, 10**400]
)
def test_a_scale_that_is_no_number_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="qk_scale"):
        load_checkpoint(saved(tmp_path, config=authors(QK_SCALE=value)))


@pytest.mark.parametrize(
    ("other", "words"), [(1.0, r"qk_scale 0\.5 and 1\.0"), (None, r"qk_scale 0\.5 and none")]
)
def test_two_scales_are_refused(other: object, words: str, tmp_path: Path) -> None:
    beside = {"config": authors(QK_SCALE=0.5), "hyper_parameters": {"qk_scale": other}}
    with pytest.raises(InputError, match=words):
        load_checkpoint(saved(tmp_path, **beside))


def test_configurations_of_omegaconf_are_read_without_it(tmp_path: Path) -> None:
    class AnyNode:  # as omegaconf keeps a value
        def __init__(self, value: object) -> None:
            self._val = value

    class DictConfig:
        def __init__(self, content: dict) -> None:
            self._content = content

    globals().update(AnyNode=AnyNode, DictConfig=DictConfig)
    for kind in (AnyNode, DictConfig):
        kind.__qualname__ = kind.__name__
    beside = {"hyper_parameters": DictConfig({"qk_scale": AnyNode(0.75), "lr": AnyNode(0.1)})}
    overrides = Overrides(image_size=(32, 32))
    assert load_checkpoint(saved(tmp_path, **beside), overrides).config.qk_scale == 0.75
    beside = {"hyper_parameters": DictConfig({"qk_scale": AnyNode(None)})}
    assert load_checkpoint(saved(tmp_path, **beside), overrides).config.qk_scale is None


@pytest.mark.parametrize(
    "swin",
    [
        {"WINDOW_SIZE": [7, 7]},
        {"MLP_RATIO": [4]},
        {"MLP_RATIO": 10**400},
        {"DEPTHS": 3},
        {"EMBED_DIM": "wide"},
        {"APE": [1]},
        {"FOO": [[[[]]]], "BAR": 10**5000},
    ],
)
def test_settings_of_wrong_types_are_ignored(swin: dict, tmp_path: Path) -> None:
    assert load_checkpoint(saved(tmp_path, config=authors(**swin))).config.depths == (1, 1, 2)


def test_padding_that_other_frameworks_store_is_refused(tmp_path: Path) -> None:
    beside = {"hyper_parameters": {"padding_mode": "reflect", "embed_dim": 8}}
    with pytest.raises(InputError, match="padding_mode reflect"):
        load_checkpoint(saved(tmp_path, **beside), Overrides(image_size=(32, 32)))
    crop = {"transforms": {"padding_mode": "reflect", "size": 32}}
    load_checkpoint(saved(tmp_path, **crop), Overrides(image_size=(32, 32)))


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    config = authors(TEMPERATURE=2.0, DROP=0.1)
    config["MODEL"]["SLIDE"] = {"KA": 3, "DILATION": 2}
    remarks = " ".join(load_checkpoint(saved(tmp_path, config=config)).remarks)
    for name in ("MODEL.SWIN.TEMPERATURE = 2.0", "MODEL.SWIN.DROP", "MODEL.SLIDE.DILATION = 2"):
        assert name in remarks


def test_the_authors_settings_are_all_known(tmp_path: Path) -> None:
    config = authors(
        PATCH_SIZE=4, IN_CHANS=3, EMBED_DIM=8, DEPTHS=[1, 1, 2], NUM_HEADS=[1, 2, 4],
        WINDOW_SIZE=56, MLP_RATIO=4.0, QKV_BIAS=True, QK_SCALE=None, KA=[7, 7, 7, 7],
        DIM_REDUCTION=[4, 4, 4, 4], STAGES=[True] * 4, STAGES_NUM=[-1] * 4, RPB=True,
        PADDING_MODE="zeros", SHARE_DWC_KERNEL=True, SHARE_QKV=False, APE=False, PATCH_NORM=True,
        LR_FACTOR=2, DEPTHS_LR=[2, 2, 2, 2], FUSION_TYPE="add", STAGE_CFG=None,
    )  # fmt: skip
    config["MODEL"] |= {"NAME": "x", "RESUME": "", "NUM_CLASSES": 5, "DROP_RATE": 0.0,
                        "DROP_PATH_RATE": 0.1, "LABEL_SMOOTHING": 0.1, "SWIN_HR": {},
                        "SLIDE": {"KA": 3, "NUM_SLIDE_STAGES": 2}}  # fmt: skip
    assert load_checkpoint(saved(tmp_path, config=config)).remarks == ()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("EMBED_DIM", 96), ("MLP_RATIO", 2.0), ("QKV_BIAS", False), ("APE", True), ("IN_CHANS", 1)],
)
def test_a_setting_that_shapes_contradict_is_reported(
    setting: str, value: object, tmp_path: Path
) -> None:
    remarks = load_checkpoint(saved(tmp_path, config=authors(**{setting: value}))).remarks
    assert len(remarks) == 1
    assert str(value) in remarks[0]


def test_another_padding_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MODEL\.SWIN\.PADDING_MODE reflect"):
        load_checkpoint(saved(tmp_path, config=authors(PADDING_MODE="reflect")))


def test_a_configuration_that_was_not_built_is_read_like_a_dict(tmp_path: Path) -> None:
    from yacs.config import CfgNode

    config = CfgNode(authors(QK_SCALE=0.75))
    assert load_checkpoint(saved(tmp_path, config=config)).config.qk_scale == 0.75
