"""The targets of ONNX Runtime: one per execution provider, and one that proves float16 files."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.onnxruntime import rounded
from slide_deploy.backends.onnxruntime.intermediates import intermediates
from slide_deploy.backends.onnxruntime.profile import profile
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.onnxruntime.providers import CPU, PROVIDERS
from slide_deploy.backends.onnxruntime.session import SUFFIXES, open_exactly, open_on


def _target(provider: Provider) -> Target:
    is_cpu = provider is CPU
    return Target(
        name=provider.target,
        suffixes=SUFFIXES,
        find=provider.find,
        open=partial(open_on, provider),
        intermediates=intermediates if is_cpu else None,
        profile=partial(profile, provider) if provider.profiled else None,
        processor=is_cpu,
        open_exactly=partial(open_exactly, provider) if is_cpu else None,
    )


TARGETS = (*map(_target, PROVIDERS), rounded.TARGET)
