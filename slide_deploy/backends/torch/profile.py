"""Operator times from PyTorch's profiler."""

from collections.abc import Sequence
from pathlib import Path

from slide_deploy.backends.base import Configuration, OperatorTime
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.torch.device import TorchDevice
from slide_deploy.backends.torch.run import ModuleCalls, prepare


def profile(
    device: TorchDevice, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Return the mean time of each kind of operator after a warm-up, slowest first; see `Target`.

    PyTorch reports kinds of operators, not nodes: all convolutions of a call are one entry. On CUDA
    the entries are kernels. The time of an operator excludes the operators that it calls.
    """
    ready = prepare(device, path, configuration)
    import torch
    from torch.profiler import ProfilerActivity

    on_gpu = device.kind == "cuda"
    stream = ModuleCalls(device, ready)
    stream.bind(random_arrays(ready.inputs))
    stream.run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(calls):
            stream.run()
    wanted = "CUDA" if on_gpu else "CPU"
    times = []
    for event in recorded.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if event.device_type.name == wanted and microseconds > 0:
            nanoseconds = round(1000 * microseconds / calls)
            times.append(OperatorTime(event.key, f"{event.key} ({device.kind})", nanoseconds))
    return sorted(times, key=lambda time: time.nanoseconds, reverse=True)
