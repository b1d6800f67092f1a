"""What is particular to OpenVINO."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.record import Configuration, OperatorTime
from slide_deploy.backends.base import untimed
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.openvino.network import Request, compile_file
from slide_deploy.backends.openvino.profile import operator_times
from slide_deploy.backends.openvino.properties import automatic_properties, properties_of
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from tests.backends import files
from tests.backends.cases import case_of


def test_the_request_holds_the_outputs(tmp_path) -> None:
    path = files.openvino_file(tmp_path, None)
    network = compile_file("CPU", path, Configuration(batch=2))
    feeds = random_arrays(network.inputs)
    stream = Request(network)
    stream.bind(feeds)
    stream.run()
    expected = np.maximum(feeds["x"] @ files.WEIGHTS, 0)
    np.testing.assert_allclose(stream.read()[0], expected, rtol=1e-5)


def test_an_open_batch_is_compiled_as_a_fixed_one(tmp_path) -> None:
    network = compile_file("CPU", files.openvino_file(tmp_path, None), Configuration(batch=6))
    assert list(network.compiled.inputs[0].shape) == [6, 4]


def test_onnx_files_are_read_too(tmp_path) -> None:
    path = files.onnx_file(tmp_path, None)
    files.bound(target_named("openvino:cpu").open(path, Configuration(batch=2), untimed)).run()


def test_missing_weights_are_reported(tmp_path) -> None:
    path = files.openvino_file(tmp_path, 1)
    path.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match=r"small\.xml does not load on openvino:cpu"):
        target_named("openvino:cpu").open(path, Configuration(), untimed)


@pytest.mark.parametrize("name", ["openvino:cpu", "openvino:auto"])
def test_reported_properties_are_those_that_were_set(name, tmp_path) -> None:
    path = files.openvino_file(tmp_path, 1)
    configuration = Configuration(threads=1, streams=2)
    runtime = target_named(name).open(path, configuration, untimed).facts
    assert runtime["device"] == "CPU"
    assert runtime["precision"] == "float32"
    assert runtime["PERFORMANCE_HINT"] == "THROUGHPUT"
    assert runtime["NUM_STREAMS"] == "2"
    assert runtime["INFERENCE_NUM_THREADS"] == "2"
    assert runtime["ENABLE_CPU_PINNING"] == "False"


def test_options_override_the_rest(tmp_path) -> None:
    path = files.openvino_file(tmp_path, 1)
    configuration = Configuration(options={"ENABLE_CPU_PINNING": "YES"})
    runtime = target_named("openvino:cpu").open(path, configuration, untimed).facts
    assert runtime["ENABLE_CPU_PINNING"] == "True"


def test_properties_fit_their_device() -> None:
    configuration = Configuration(threads=3, streams=2, precision="default")
    assert properties_of("CPU", configuration) == {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": "2",
        "INFERENCE_NUM_THREADS": "6",
        "ENABLE_CPU_PINNING": "NO",
    }
    assert properties_of("NPU", Configuration(precision="float16")) == {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f16",
    }
    automatic = automatic_properties(["CPU", "GPU.0"], Configuration())
    assert automatic["ENABLE_STARTUP_FALLBACK"] == "NO"
    assert set(automatic["DEVICE_PROPERTIES"]) == {"CPU", "GPU.0"}
    assert "INFERENCE_NUM_THREADS" not in automatic["DEVICE_PROPERTIES"]["GPU.0"]


def test_a_fallback_to_another_device_is_refused(written, tmp_path, monkeypatch) -> None:
    case = case_of("openvino:gpu", written, monkeypatch)
    case.behaviour.used = "CPU"
    with pytest.raises(InputError, match="openvino:gpu fell back to CPU"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)


def test_a_fallback_to_another_precision_is_refused(written, tmp_path, monkeypatch) -> None:
    case = case_of("openvino:gpu", written, monkeypatch)
    case.behaviour.precision = "f32"
    with pytest.raises(InputError, match="computes in float32 here, not float16"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(precision="float16"), untimed)


def test_the_npu_does_not_compute_in_float32(written, tmp_path, monkeypatch) -> None:
    case = case_of("openvino:npu", written, monkeypatch)
    with pytest.raises(InputError, match="takes the precision float16 or default, not float32"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)


def test_a_missing_device_is_reported(written, tmp_path, monkeypatch) -> None:
    case = case_of("openvino:npu", written, monkeypatch)
    case.behaviour.devices = ("CPU",)
    found = case.target.find()
    assert not found.present
    assert "finds CPU only: install Intel's NPU driver" in found.detail
    with pytest.raises(InputError, match="cannot run here: OpenVINO finds CPU only"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)


def test_one_of_several_devices_is_enough(written, monkeypatch) -> None:
    case = case_of("openvino:gpu", written, monkeypatch)
    case.behaviour.devices = ("CPU", "GPU.0", "GPU.1", "GPU")
    assert case.target.find().present


def test_running_means_are_converted_to_times() -> None:
    # Calls of 3000, 100 and 200 ns.
    readings = [{("a", "Conv"): 3000}, {("a", "Conv"): 1550}, {("a", "Conv"): 1100}]
    readings[2]["b", "Reorder"] = 0
    assert operator_times(readings, running=True) == [
        OperatorTime("a", "Conv", 150),
        OperatorTime("b", "Reorder", 0),
    ]


def test_times_of_each_call_are_averaged() -> None:
    readings = [{("a", "Conv"): 3000}, {("a", "Conv"): 100}, {("a", "Conv"): 200}]
    assert operator_times(readings, running=False) == [OperatorTime("a", "Conv", 150)]


def test_the_counters_of_the_cpu_are_running_means(tmp_path) -> None:
    """If a release changes that, the profile must follow."""
    path = files.openvino_file(tmp_path, 1)
    network = compile_file("CPU", path, Configuration(), extra={"PERF_COUNT": "YES"})
    stream = Request(network)
    stream.bind(random_arrays(network.inputs))
    request = stream.request

    def microseconds() -> float:
        request.infer(share_outputs=True)
        node = max(request.get_profiling_info(), key=lambda node: node.real_time)
        return node.real_time.total_seconds() * 1e6

    first = microseconds()
    later = [microseconds() for _ in range(3)]
    # The first call packs weights; its time is still in the mean, half and a quarter of it.
    assert later[0] >= first / 2 - 1
    assert later[2] >= first / 4 - 1


def test_ctrl_c_works_after_models_are_freed(written: Path, tmp_path: Path) -> None:
    """In a process of its own: where the plugin's stack for signals stays, the signal ends it."""
    path = files.copied(written, "openvino", 1, tmp_path)
    code = (
        "import gc, signal, sys; from pathlib import Path\n"
        "from slide_deploy.backends import open_file\n"
        "first, second = (open_file(Path(sys.argv[1])) for _ in range(2))\n"
        "del first; gc.collect(); del second; gc.collect()\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('heard')"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("heard\n", 0), done.stderr


@pytest.mark.slow
def test_nothing_is_reported_to_its_makers(tmp_path: Path) -> None:
    """Each report would be a process that OpenVINO forks."""
    code = (
        "import os, sys, torch, slide_deploy\n"
        "os.register_at_fork(before=lambda: sys.exit('it forks'))\n"
        "model = torch.nn.Conv2d(3, 4, 3)\n"
        f"out = {str(tmp_path / 'out')!r}\n"
        "slide_deploy.export(model, torch.ones(1, 3, 8, 8), to='openvino', out=out)\n"
        "from openvino.tools.ovc import telemetry\n"
        "print(type(telemetry).__module__)\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "CI": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub", done.stderr
    assert not (tmp_path / "home").exists()


def test_a_tensor_that_is_output_twice_has_two_names(tmp_path) -> None:
    import openvino
    from openvino import opset13

    x = opset13.parameter([1, 4], np.float32, name="x")
    y = opset13.relu(x)
    y.output(0).set_names({"y"})
    path = tmp_path / "twice.xml"
    openvino.save_model(openvino.Model([y, y], [x]), path, compress_to_fp16=False)
    opened = target_named("openvino:cpu").open(path, Configuration(), untimed)
    found = opened(random_arrays(opened.inputs))
    assert list(found) == ["y", "y#1"]
    np.testing.assert_array_equal(found["y"], found["y#1"])


def test_a_name_that_is_not_utf8_is_refused(tmp_path) -> None:
    path = files.openvino_file(tmp_path, 1)
    content = path.read_bytes()
    assert b'names="y"' in content
    path.write_bytes(content.replace(b'names="y"', b'names="y\xff"'))
    with pytest.raises(InputError, match=r"small\.xml does not load on openvino:cpu"):
        target_named("openvino:cpu").open(path, Configuration(), untimed)


def test_stored_text_that_is_not_utf8_is_refused(tmp_path) -> None:
    path = files.openvino_file(tmp_path, 1)
    content = path.read_bytes()
    stored = b'<rt_info><slide_deploy><note value="\xff" /></slide_deploy>'
    assert b"<rt_info>" in content
    path.write_bytes(stored.join(content.rsplit(b"<rt_info>", 1)))
    with pytest.raises(InputError, match=r"small\.xml holds metadata that is not UTF-8"):
        target_named("openvino:cpu").open(path, Configuration(), untimed)
