"""The targets of ExecuTorch: one per delegate."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.executorch.delegates import DELEGATES
from slide_deploy.backends.executorch.intermediates import intermediates
from slide_deploy.backends.executorch.method import SUFFIXES, is_for, open_on
from slide_deploy.backends.executorch.profile import profile

TARGETS = tuple(
    Target(
        name=delegate.target,
        suffixes=SUFFIXES,
        find=delegate.find,
        open=partial(open_on, delegate),
        intermediates=partial(intermediates, delegate),
        profile=partial(profile, delegate),
        runs=partial(is_for, delegate),
        processor=delegate.name == "xnnpack",
    )
    for delegate in DELEGATES
)
