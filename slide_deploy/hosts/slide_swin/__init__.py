"""Slide-Swin: a Swin transformer whose first stages use slide attention."""

from slide_deploy.hosts.host import Host
from slide_deploy.hosts.slide_swin.infer import settings_fit, trained_config
from slide_deploy.hosts.slide_swin.names import NETWORKS
from slide_deploy.hosts.slide_swin.published import ARCHITECTURES, plain_swin, published_as
from slide_deploy.hosts.slide_swin.resize import changes, resized_settings, resized_tensors
from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig


def _summary(config: SlideSwinConfig) -> str:
    return f"depths {' '.join(map(str, config.depths))}, {config.num_slide_stages} slide stages"


SLIDE_SWIN = Host(
    name="slide_swin",
    finder=NETWORKS,
    settings=SlideSwinConfig,
    infer=trained_config,
    fits=settings_fit,
    build=SlideSwin,
    summary=_summary,
    published=ARCHITECTURES,
    published_as=published_as,
    resize=resized_settings,
    resize_tensors=resized_tensors,
    changes=changes,
    plain=plain_swin,
    options=("window_size", "keep_windows", "resize_position_tables"),
)
