"""What is particular to ONNX Runtime."""

import json

import numpy as np
import pytest

from benchmarks.record import Configuration, OperatorTime
from slide_deploy.backends.base import untimed
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.onnxruntime import providers, session
from slide_deploy.backends.onnxruntime.options import pool_size
from slide_deploy.backends.onnxruntime.profile import operator_times
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from tests.backends import files
from tests.backends.cases import case_of, pretend_platform
from tests.backends.stand_ins import onnxruntime as stand_in

PROVIDERS = ["cuda", "tensorrt", "coreml", "directml", "openvino"]


@pytest.fixture(params=PROVIDERS)
def case(request, written, monkeypatch):
    return case_of(f"onnxruntime:{request.param}", written, monkeypatch)


def load(case, tmp_path, **settings):
    return case.target.open(case.make_file(tmp_path, 1), Configuration(**settings), untimed)


def test_the_bound_outputs_hold_the_result(tmp_path, monkeypatch) -> None:
    import onnxruntime

    memory = []
    make = onnxruntime.OrtValue.ortvalue_from_shape_and_type

    def noted(*arguments):
        memory.append(make(*arguments))
        return memory[-1]

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", noted)
    path = files.onnx_file(tmp_path, None)
    loaded = session.open_on(providers.CPU, path, Configuration(batch=2), untimed)
    first, second = files.bound(loaded), files.bound(loaded)
    first.run()
    first.run()
    (x,) = random_arrays(loaded.inputs).values()
    output, other = memory  # one a stream, though the file leaves the batch open
    np.testing.assert_allclose(output.numpy(), np.maximum(x @ files.WEIGHTS, 0), rtol=1e-5)
    np.testing.assert_array_equal(first.read()[0], output.numpy())
    second.run()
    np.testing.assert_array_equal(other.numpy(), output.numpy())


def test_a_provider_that_does_not_start_is_refused(case, tmp_path) -> None:
    case.behaviour.starts = False
    with pytest.raises(InputError, match=f"{case.target.name} fell back to .*CPUExecutionProvider"):
        load(case, tmp_path)


def test_a_provider_that_takes_no_operator_is_refused(case, tmp_path) -> None:
    case.behaviour.takes = False
    with pytest.raises(InputError, match="runs on CPUExecutionProvider only"):
        load(case, tmp_path)


def test_an_older_release_reports_no_placement(case, tmp_path) -> None:
    case.behaviour.tells = False
    assert "nodes" not in load(case, tmp_path).facts


def test_a_build_without_the_provider_is_reported(monkeypatch) -> None:
    found = target_named("onnxruntime:openvino").find()
    assert not found.present
    assert "pip install onnxruntime-openvino" in found.detail


@pytest.mark.parametrize(
    ("name", "platform", "detail"),
    [
        ("directml", "linux", "needs Windows"),
        ("coreml", "win32", "needs macOS"),
        ("cuda", "darwin", "needs Linux or Windows"),
    ],
)
def test_a_provider_of_another_system_is_reported(
    name, platform, detail, written, monkeypatch
) -> None:
    case = case_of(f"onnxruntime:{name}", written, monkeypatch)
    pretend_platform(monkeypatch, "slide_deploy.backends.onnxruntime.provider", platform)
    assert case.target.find().detail == detail


def test_a_machine_without_a_gpu_is_reported(written, tmp_path, monkeypatch) -> None:
    case = case_of("onnxruntime:cuda", written, monkeypatch)
    monkeypatch.setattr(
        "slide_deploy.backends.onnxruntime.providers.ctypes", stand_in.driver(gpus=0)
    )
    assert "nvidia-smi" in case.target.find().detail
    with pytest.raises(InputError, match="cannot run here: the NVIDIA driver finds no GPU"):
        load(case, tmp_path)


def test_a_machine_without_a_driver_is_reported(monkeypatch) -> None:
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(providers.ctypes, "CDLL", missing)
    assert "no NVIDIA driver" in providers.no_nvidia_gpu()


def test_threads_are_those_of_all_streams() -> None:
    assert pool_size(Configuration(threads=1, streams=4)) == 1
    assert pool_size(Configuration(threads=4, streams=1)) == 4
    # Two callers and six of the pool, which counts one caller as its own.
    assert pool_size(Configuration(threads=4, streams=2)) == 7


def test_a_session_is_set_up_explicitly(written, tmp_path, monkeypatch) -> None:
    case = case_of("onnxruntime:cuda", written, monkeypatch)
    load(case, tmp_path, threads=3)
    options = case.behaviour.session_options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.execution_mode.name == "ORT_SEQUENTIAL"
    assert options.graph_optimization_level.name == "ORT_ENABLE_ALL"


def test_options_override_the_rest(tmp_path) -> None:
    options = {
        "intra_op_num_threads": "2",
        "graph_optimization_level": "ORT_DISABLE_ALL",
        "enable_mem_pattern": "0",
        "session.intra_op.allow_spinning": "0",
    }
    configuration = Configuration(options=options)
    path = files.onnx_file(tmp_path, 1)
    runtime = target_named("onnxruntime:cpu").open(path, configuration, untimed).facts
    assert runtime["intra_op_num_threads"] == "2"
    assert runtime["graph_optimization_level"] == "ORT_DISABLE_ALL"


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("intra_op_num_threads", "many", "a whole number, not many"),
        ("enable_mem_pattern", "yes", "0 or 1, not yes"),
        ("execution_mode", "fast", "ORT_SEQUENTIAL, ORT_PARALLEL, not fast"),
    ],
)
def test_an_impossible_value_is_refused(option, text, expected, tmp_path) -> None:
    configuration = Configuration(options={option: text})
    with pytest.raises(InputError, match=expected):
        target_named("onnxruntime:cpu").open(files.onnx_file(tmp_path, 1), configuration, untimed)


def test_tf32_is_off_in_float32(written, tmp_path, monkeypatch) -> None:
    case = case_of("onnxruntime:cuda", written, monkeypatch)
    load(case, tmp_path)
    assert case.behaviour.options["CUDAExecutionProvider"]["use_tf32"] == "0"
    load(case, tmp_path, precision="default", options={"device_id": "1"})
    assert case.behaviour.options["CUDAExecutionProvider"]["use_tf32"] == "1"
    assert case.behaviour.options["CUDAExecutionProvider"]["device_id"] == "1"
    with pytest.raises(InputError, match="device_id must be a whole number, not first"):
        load(case, tmp_path, options={"device_id": "first"})


@pytest.mark.parametrize(
    ("precision", "switched"),
    [("float32", set()), ("float16", {"trt_fp16_enable"}), ("bfloat16", {"trt_bf16_enable"})],
)
def test_the_precision_sets_the_switches_of_tensorrt(
    precision, switched, written, tmp_path, monkeypatch
) -> None:
    case = case_of("onnxruntime:tensorrt", written, monkeypatch)
    load(case, tmp_path, precision=precision, options={"device_id": "2"})
    options = case.behaviour.options["TensorrtExecutionProvider"]
    assert {name for name, value in options.items() if value == "1"} == switched
    assert case.behaviour.options["CUDAExecutionProvider"]["device_id"] == "2"


def test_openvino_properties_reach_the_provider(written, tmp_path, monkeypatch) -> None:
    case = case_of("onnxruntime:openvino", written, monkeypatch)
    settings = {"threads": 2, "precision": "bfloat16", "options": {"device_type": "CPU"}}
    load(case, tmp_path, **settings)
    options = case.behaviour.options["OpenVINOExecutionProvider"]
    assert json.loads(options["load_config"])["CPU"]["INFERENCE_PRECISION_HINT"] == "bf16"
    assert json.loads(options["load_config"])["CPU"]["INFERENCE_NUM_THREADS"] == "2"
    assert case.behaviour.session_options.graph_optimization_level.name == "ORT_DISABLE_ALL"


def test_directml_runs_one_call_at_a_time(written, tmp_path, monkeypatch) -> None:
    case = case_of("onnxruntime:directml", written, monkeypatch)
    with pytest.raises(InputError, match="one call at a time: use --streams 1"):
        load(case, tmp_path, streams=2)


def test_half_precision_requires_a_half_precision_file(tmp_path) -> None:
    configuration = Configuration(precision="float16")
    with pytest.raises(InputError, match="not float16: it computes in the types that the file"):
        target_named("onnxruntime:cpu").open(files.onnx_file(tmp_path, 1), configuration, untimed)


def test_operator_times_leave_out_the_first_call_and_add_loops() -> None:
    def node(name: str, microseconds: int) -> dict:
        return {
            "cat": "Node",
            "name": f"{name}_kernel_time",
            "dur": microseconds,
            "args": {"op_name": "Conv", "provider": "CPUExecutionProvider"},
        }

    first = [node("once", 900), node("twice", 90), node("twice", 90)]
    second = [node("once", 4), node("twice", 10), node("twice", 20)]
    third = [node("once", 6), node("twice", 5), node("twice", 5)]
    session_event = {"cat": "Session", "name": "model_run", "dur": 1000, "args": {}}
    assert operator_times([session_event, *first, *second, *third], 2) == [
        OperatorTime("twice", "Conv (CPUExecutionProvider)", 20_000),
        OperatorTime("once", "Conv (CPUExecutionProvider)", 5_000),
    ]


def test_two_outputs_of_one_name_are_refused(tmp_path) -> None:
    import onnx

    path = files.onnx_file(tmp_path, 1)
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"small\.onnx gives two outputs one name"):
        session.open_on(providers.CPU, path, Configuration(), untimed)
