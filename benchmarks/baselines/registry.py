"""The baselines, and how they are written as files."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.baselines.matmuls import Matmuls, matmuls_of
from benchmarks.baselines.subject import SuiteSubject, as_if_trained
from benchmarks.baselines.unfold import UnfoldAttention
from slide_deploy.backends import open_file
from slide_deploy.deployable.module import deployable_of
from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of
from slide_deploy.folding.surgery import replace_module
from slide_deploy.hosts.registry import host_of
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from slide_deploy.precisions import FLOAT32
from slide_deploy.verification.cases import verification_cases
from slide_deploy.verification.reference_outputs.making import store_reference_of

Built = tuple[nn.Module, tuple[Tensor, ...]]


# Returns the module and example inputs for a subject: the same computation in other code.
Build = Callable[[SuiteSubject], Built]


def _trained(subject: SuiteSubject) -> Built:
    """Return the network in its training form, with branches if it has any."""
    return subject.branched(), (subject.example(),)


def _swin(subject: SuiteSubject) -> Built:
    """Return the published network without slide attention, from the same code base."""
    if isinstance(subject.config, SlideAttentionConfig):
        raise InputError("The baseline swin is a whole network: give it an architecture.")
    host = host_of(subject.config)
    if host.plain is None:
        raise InputError(f"There is no {host.title} without slide attention: remove the baseline.")
    torch.manual_seed(0)
    plain = host.build(host.plain(subject.config), False, False)
    return as_if_trained(plain), (subject.example(),)


def _unfold(subject: SuiteSubject) -> Built:
    """Return the network with every slide attention replaced by unfold."""
    model = subject.branched()
    for name, module in list(model.named_modules()):
        if isinstance(module, SlideAttention):
            gathered = as_if_trained(
                UnfoldAttention(module.config, module.layout, module.resolution)
            )
            model = replace_module(model, name, gathered)
    return model.eval(), (subject.example(),)


def _matmuls(subject: SuiteSubject) -> Built:
    module = Matmuls(matmuls_of(subject.branched(), subject.example()))
    return module.eval(), tuple(map(torch.zeros, module.shapes))


# By name in suites.
BASELINES: dict[str, Build] = {
    "branched": _trained,
    "exported": _trained,  # the same, named for networks without branches
    "swin": _swin,
    "unfold": _unfold,
    "matmuls": _matmuls,
}


def baseline_named(name: str) -> Build:
    """Return a baseline by its name.

    Raises:
        InputError: There is no such baseline.
    """
    if name not in BASELINES:
        raise InputError(f"There is no baseline {name}: choose one of {', '.join(BASELINES)}.")
    return BASELINES[name]


def write_baseline(build: Build, subject: SuiteSubject, path: Path) -> None:
    """Write a baseline with ``torch.onnx.export``, without slide-deploy.

    Reference outputs are written beside it, so that it is verified like our files before it is
    timed.

    Args:
        build: The baseline.
        subject: The network or attention.
        path: Path of an ``.onnx`` file, for ONNX Runtime and OpenVINO.
    """
    model, inputs = build(subject)
    program = torch.onnx.export(model, inputs, dynamo=True, verbose=False)
    assert program is not None
    with draft_of(path) as draft:
        program.save(str(draft), external_data=False)
    deployable = deployable_of(model, inputs)
    cases = verification_cases(deployable.inputs)
    store_reference_of(path, open_file(path), deployable, cases, FLOAT32.name)
