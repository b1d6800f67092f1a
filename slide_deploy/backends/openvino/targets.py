"""The targets of OpenVINO."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.openvino.devices import DEVICES
from slide_deploy.backends.openvino.network import SUFFIXES, load
from slide_deploy.backends.openvino.profile import profile

TARGETS = tuple(
    Target(
        name=device.target,
        suffixes=SUFFIXES,
        find=device.find,
        load=partial(load, device.name),
        profile=partial(profile, device.name),
        processor=device.name == "CPU",
    )
    for device in DEVICES
)
