"""The targets of OpenVINO."""

from functools import partial

from benchmarks.targets.base import Target
from benchmarks.targets.openvino.devices import DEVICES
from benchmarks.targets.openvino.network import SUFFIXES, load
from benchmarks.targets.openvino.profile import profile

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
