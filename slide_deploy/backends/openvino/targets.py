"""The targets of OpenVINO."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.openvino.devices import DEVICES
from slide_deploy.backends.openvino.intermediates import intermediates
from slide_deploy.backends.openvino.network import SUFFIXES, open_on
from slide_deploy.backends.openvino.profile import profile

TARGETS = tuple(
    Target(
        name=device.target,
        suffixes=SUFFIXES,
        find=device.find,
        open=partial(open_on, device.name),
        intermediates=intermediates if device.name == "CPU" else None,
        profile=partial(profile, device.name),
        processor=device.name == "CPU",
    )
    for device in DEVICES
)
