"""What is particular to PyTorch."""

import pytest
import torch

from benchmarks.record import Configuration
from slide_deploy.backends.base import untimed
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.registry import target_named
from slide_deploy.backends.torch.device import TorchDevice
from slide_deploy.backends.torch.run import ModuleCalls, placed_on, prepare
from slide_deploy.errors import InputError
from tests.backends.cases import case_of, pretend_platform
from tests.backends.files import bound
from tests.support import Golden


@pytest.fixture(autouse=True)
def threads():
    """Threads belong to the process: put them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_checkpoint_runs_as_it_was_trained(nano: Golden) -> None:
    ready = prepare(TorchDevice("cpu"), nano.path, Configuration(batch=3))
    assert not ready.module.training
    (image,) = placed_on("cpu", ready.inputs, random_arrays(ready.inputs))
    torch.testing.assert_close(ready.module(image), nano.load().model(image))
    assert ready.inputs[0].name == "image"
    assert ready.inputs[0].shape[:2] == (3, 3)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_checkpoint_runs_in_half_precision(nano: Golden, precision: str) -> None:
    configuration = Configuration(precision=precision)
    loaded = target_named("torch:cpu").open(nano.path, configuration, untimed)
    assert loaded.inputs[0].dtype == precision
    assert loaded.facts["precision"] == precision
    bound(loaded).run()


def test_a_program_keeps_its_types(written, tmp_path) -> None:
    path = written / "torch-1" / "small.pt2"
    with pytest.raises(InputError, match="not float16: the types of a program are part of it"):
        target_named("torch:cpu").open(path, Configuration(precision="float16"), untimed)


def test_threads_are_set(written) -> None:
    path = written / "torch-1" / "small.pt2"
    loaded = target_named("torch:cpu").open(path, Configuration(threads=2), untimed)
    assert loaded.facts["threads"] == "2"
    assert torch.get_num_threads() == 2


def test_no_gradients_are_kept(written) -> None:
    path = written / "torch-1" / "small.pt2"
    ready = prepare(TorchDevice("cpu"), path, Configuration())
    seen = []
    ready.module.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    stream = ModuleCalls(TorchDevice("cpu"), ready)
    stream.bind(random_arrays(ready.inputs))
    stream.run()
    assert seen == [True]
    assert not torch.is_inference_mode_enabled()


def test_tf32_is_off_in_float32(written, tmp_path, monkeypatch) -> None:
    case = case_of("torch:cuda", written, monkeypatch)
    path = case.make_file(tmp_path, 1)
    case.target.open(path, Configuration(precision="default"), untimed)
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    case.target.open(path, Configuration(), untimed)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.benchmark


def test_each_stream_has_its_own_cuda_stream(written, tmp_path, monkeypatch) -> None:
    case = case_of("torch:cuda", written, monkeypatch)
    loaded = case.target.open(case.make_file(tmp_path, 1), Configuration(streams=2), untimed)
    before = case.behaviour.streams
    bound(loaded)
    bound(loaded)
    assert case.behaviour.streams - before == 4  # its own, and the one that it waits for


def test_compilation_is_timed_in_the_compile_stage(written, tmp_path, monkeypatch) -> None:
    case = case_of("torch:mps-compiled", written, monkeypatch)
    configuration = Configuration(options={"mode": "max-autotune"})
    loaded = case.target.open(case.make_file(tmp_path, 1), configuration, untimed)
    assert case.behaviour.compiled == 1
    assert "max-autotune" in loaded.facts["compiled"]


def test_a_failed_compilation_is_one_sentence(written, monkeypatch) -> None:
    def broken(*arguments, **options):
        raise RuntimeError("cannot lower\nstack")

    monkeypatch.setattr(torch, "compile", lambda *arguments, **options: broken)
    path = written / "torch-1" / "small.pt2"
    with pytest.raises(InputError, match=r"does not compile on torch:cpu-compiled \(cannot lower"):
        target_named("torch:cpu-compiled").open(path, Configuration(), untimed)


def test_a_machine_without_a_compiler_is_reported(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = target_named("torch:cpu-compiled").find()
    assert not found.present
    assert "needs a C++ compiler (no-such-compiler)" in found.detail


def test_a_machine_without_the_device_is_reported(monkeypatch) -> None:
    assert "no NVIDIA GPU" in target_named("torch:cuda").find().detail
    assert target_named("torch:mps").find().detail == "needs macOS"
    pretend_platform(monkeypatch, "slide_deploy.backends.torch.device", "darwin")
    assert "Apple silicon is needed" in target_named("torch:mps").find().detail
