"""The list of host families, and lookups in it."""

from slide_deploy.errors import InputError
from slide_deploy.hosts.cswin import CSWIN
from slide_deploy.hosts.host import Architecture, Host, Settings
from slide_deploy.hosts.nat import NAT
from slide_deploy.hosts.pvt import PVT
from slide_deploy.hosts.pvt_v2 import PVT_V2
from slide_deploy.hosts.slide_swin import SLIDE_SWIN

HOSTS: tuple[Host, ...] = (SLIDE_SWIN, PVT, PVT_V2, CSWIN, NAT)


def known_hosts() -> tuple[Host, ...]:
    """Return all families."""
    return HOSTS


def host_of(settings: Settings) -> Host:
    """Return the family that settings belong to."""
    return next(host for host in HOSTS if isinstance(settings, host.settings))


def architecture_name(settings: Settings) -> str:
    """Return the published name of settings at any image size and class count, or the family's."""
    return host_of(settings).architecture(settings)


def published_named(name: str) -> tuple[Host, Architecture]:
    """Look up a published network and its family.

    Raises:
        InputError: if no network has this name.
    """
    every = [(host, each) for host in HOSTS for each in host.published]
    for host, each in every:
        if each.name == name:
            return host, each
    known = ", ".join(each.name for _, each in every)
    raise InputError(f"There is no architecture {name}: choose one of {known}.")
