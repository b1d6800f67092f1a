"""The targets of ONNX Runtime: one per execution provider, and one that proves float16 files."""

from slide_deploy.backends.onnxruntime import rounded
from slide_deploy.backends.onnxruntime.providers import PROVIDERS
from slide_deploy.backends.onnxruntime.session import target

TARGETS = (*map(target, PROVIDERS), rounded.TARGET)
