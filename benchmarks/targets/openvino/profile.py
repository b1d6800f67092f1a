"""Times of operators, from OpenVINO's performance counters."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.record import Configuration, OperatorTime
from benchmarks.targets.openvino.network import compile_file, new_request

_MICROSECOND = timedelta(microseconds=1)


def profile(
    device: str, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Mean time of each node over some calls, slowest first; a first call is left out.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without OpenVINO.
    """
    compiled, tensors = compile_file(device, path, configuration, extra={"PERF_COUNT": "YES"})
    request = new_request(compiled, tensors)
    request.infer(share_outputs=True)
    spent: dict[tuple[str, str], int] = defaultdict(int)
    for _ in range(calls):
        request.infer(share_outputs=True)
        for node in request.get_profiling_info():
            # Nodes that were fused into others, or folded, did not run.
            if node.status.name == "EXECUTED":
                operator = f"{node.node_type} ({node.exec_type})"
                spent[node.node_name, operator] += 1000 * (node.real_time // _MICROSECOND)
    times = [
        OperatorTime(name, operator, nanoseconds // calls)
        for (name, operator), nanoseconds in spent.items()
    ]
    return sorted(times, key=lambda time: time.nanoseconds, reverse=True)
