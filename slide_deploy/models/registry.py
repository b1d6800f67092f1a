"""The published architectures, by name."""

from dataclasses import dataclass, replace

from slide_deploy.models.slide_swin import SlideSwinConfig


@dataclass(frozen=True)
class Architecture:
    """A published set of settings."""

    name: str
    config: SlideSwinConfig
    parameters: int
    paper_gflops: float


ARCHITECTURES = (
    Architecture("slide_swin_tiny", SlideSwinConfig(), 28_348_834, 4.6),
    Architecture("slide_swin_small", SlideSwinConfig(depths=(2, 2, 18, 2)), 49_747_378, 8.9),
    Architecture(
        "slide_swin_base",
        SlideSwinConfig(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
        87_948_704,
        15.5,
    ),
)


def architecture_name(config: SlideSwinConfig) -> str:
    """The published name of these settings, for any image and classes, else ``slide_swin``."""
    for architecture in ARCHITECTURES:
        published = architecture.config
        same = replace(
            config,
            image_size=published.image_size,
            num_classes=published.num_classes,
            window_size=published.window_size,
            kept_windows=(),
            feature_norms=(),
            qk_scale=config.qk_scale or None,  # 0 is the default as well
        )
        if same == published:
            return architecture.name
    return "slide_swin"
