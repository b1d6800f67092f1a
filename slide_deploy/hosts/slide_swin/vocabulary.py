"""What the settings of a Slide-Swin are called in its authors' configuration."""

from slide_deploy.checkpoint.stated import Vocabulary

_SHOWN = {
    "MODEL.NUM_CLASSES": "num_classes",
    "MODEL.SWIN.PATCH_SIZE": "patch_size",
    "MODEL.SWIN.IN_CHANS": "in_channels",
    "MODEL.SWIN.EMBED_DIM": "embed_dim",
    "MODEL.SWIN.DEPTHS": "depths",
    "MODEL.SWIN.NUM_HEADS": "num_heads",
    "MODEL.SWIN.MLP_RATIO": "mlp_ratio",
    "MODEL.SWIN.QKV_BIAS": "qkv_bias",
    "MODEL.SWIN.APE": "ape",
    "MODEL.SWIN.PATCH_NORM": "patch_norm",
    "MODEL.SLIDE.KA": "kernel_size",
    "MODEL.SLIDE.NUM_SLIDE_STAGES": "num_slide_stages",
    "MODEL.SWIN.WINDOW_SIZE": "window_size",
    "DATA.IMG_SIZE": "image_size",
}
# Those from the second line on belong to other networks of the authors: the training of Slide-Swin
# does not read them.
_WITHOUT_EFFECT = frozenset(
    f"MODEL.{name}"
    for name in (
        *("TYPE", "NAME", "RESUME", "DROP_RATE", "DROP_PATH_RATE", "LABEL_SMOOTHING"),
        *("PRETRAINED", "SWIN.QK_SCALE", "SWIN.PADDING_MODE", "SLIDE.PADDING_MODE"),
        *("SWIN.KA", "SWIN.DIM_REDUCTION", "SWIN.STAGES", "SWIN.STAGES_NUM", "SWIN.RPB"),
        *("SWIN.SHARE_DWC_KERNEL", "SWIN.SHARE_QKV", "SWIN.LR_FACTOR", "SWIN.DEPTHS_LR"),
        *("SWIN.FUSION_TYPE", "SWIN.STAGE_CFG", "SWIN.ATTN_DROP_RATE"),
    )
)

VOCABULARY = Vocabulary(
    config="SlideSwinConfig",
    kinds=("slide_swin", "swin"),
    shown=_SHOWN,
    without_effect=_WITHOUT_EFFECT,
    others=("MODEL.SWIN_HR", "MODEL.SWIN_LRVIT", "MODEL.PVD"),
)
