"""Operator times from OpenVINO's performance counters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Configuration, OperatorTime
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.openvino.network import Request, compile_file

# Nanoseconds of a node, by its name and kind.
Reading = Mapping[tuple[str, str], int]

_MICROSECOND = timedelta(microseconds=1)


def profile(
    device: str, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Return the mean time of each node after a warm-up call, slowest first; see `Target`."""
    alone = replace(configuration, streams=1)  # each stream of the CPU has separate counters
    network = compile_file(device, path, alone, extra={"PERF_COUNT": "YES"})
    stream = Request(network)
    stream.bind(random_arrays(network.inputs))
    readings = []
    for _ in range(calls + 1):
        stream.run()
        readings.append(_reading(stream.request))
    running = network.compiled.get_property("EXECUTION_DEVICES") == ["CPU"]
    return operator_times(readings, running)


def operator_times(readings: Sequence[Reading], running: bool) -> list[OperatorTime]:
    """Return the mean times over all calls but the first, which also packs weights.

    The CPU's counters hold the mean m of all calls so far, not the time of the last one, so that
    the calls 2 to n took n·m(n) − m(1) together. Other devices report each call.

    Args:
        readings: one after each call.
        running: whether the readings are such running means.
    """
    first, last, calls = readings[0], readings[-1], len(readings) - 1
    times = []
    for (name, operator), mean in last.items():
        if running:
            # The counters are whole microseconds, so that the difference may fall below zero.
            spent = max(0, (calls + 1) * mean - first.get((name, operator), 0))
        else:
            spent = sum(reading.get((name, operator), 0) for reading in readings[1:])
        times.append(OperatorTime(name, operator, spent // calls))
    return sorted(times, key=lambda time: time.nanoseconds, reverse=True)


def _reading(request: Any) -> Reading:
    return {
        (node.node_name, f"{node.node_type} ({node.exec_type})"): 1000
        * (node.real_time // _MICROSECOND)
        for node in request.get_profiling_info()
        # Nodes that were fused or folded did not run.
        if node.status.name == "EXECUTED"
    }
