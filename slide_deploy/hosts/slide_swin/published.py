"""The published sizes of Slide-Swin."""

from dataclasses import replace
from typing import Any

from slide_deploy.hosts.host import Architecture, published_but_for
from slide_deploy.models.slide_swin import SlideSwinConfig

# The window size of the published Swin-T, -S and -B.
_SWIN_WINDOW = 7

_TINY = SlideSwinConfig()
_SMALL = SlideSwinConfig(depths=(2, 2, 18, 2))
_BASE = SlideSwinConfig(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32))


def plain_swin(config: SlideSwinConfig) -> SlideSwinConfig:
    """Return the settings of the Swin with the same projections: windows of 7, no slide stage."""
    return replace(config, num_slide_stages=0, window_size=_SWIN_WINDOW)


# The published figures of the slide sizes are counted with windows of 7 (4.57, 8.82 and 15.53
# here). The released settings have windows that cover the feature map, 14x14 in the third stage.
ARCHITECTURES = (
    Architecture("slide_swin_tiny", _TINY, 28_348_834, 4.68, "29M", 4.6),
    Architecture("slide_swin_small", _SMALL, 49_747_378, 9.20, "51M", 8.9),
    Architecture("slide_swin_base", _BASE, 87_948_704, 16.04, "89M", 15.5),
    Architecture("swin_tiny", plain_swin(_TINY), 28_288_354, 4.49, "29M", 4.5),
    Architecture("swin_small", plain_swin(_SMALL), 49_606_258, 8.74, "50M", 8.7),
    Architecture("swin_base", plain_swin(_BASE), 87_768_224, 15.43, "88M", 15.4),
)
# Another image size or a detector changes these as well.
_but_for_another_size = published_but_for("window_size", "kept_windows", "feature_norms")


def published_as(published: SlideSwinConfig, config: SlideSwinConfig) -> Any:
    """Replace the settings that may differ within a published size; see ``Host.published_as``.

    A ``qk_scale`` of 0 selects the default, as None does.
    """
    return _but_for_another_size(published, replace(config, qk_scale=config.qk_scale or None))
