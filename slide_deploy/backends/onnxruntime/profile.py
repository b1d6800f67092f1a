"""Operator times from ONNX Runtime's profiler."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Configuration, OperatorTime
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.onnxruntime.options import session_options
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.onnxruntime.session import SUFFIXES, BoundStream, open_session, ports_of
from slide_deploy.backends.refusals import refuse_unusable
from slide_deploy.files.scratch import temporary_folder

_SUFFIX = "_kernel_time"


def profile(
    provider: Provider, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Return the mean time of each node after a warm-up call, slowest first; see `Target`."""
    refuse_unusable(path, provider.target, SUFFIXES)
    options = session_options(provider, configuration)
    options.enable_profiling = True
    with temporary_folder() as folder:
        options.profile_file_prefix = str(folder / "profile")
        session = open_session(provider, path, configuration, options)
        ports = ports_of(path, session, configuration)
        stream = BoundStream(provider, session, ports, 0)
        stream.bind(random_arrays(ports))
        for _ in range(calls + 1):
            stream.run()
        events = json.loads(Path(session.end_profiling()).read_text())
    return operator_times(events, calls)


def operator_times(events: Sequence[dict[str, Any]], calls: int) -> list[OperatorTime]:
    """Return the nodes' mean times from the events of ``calls + 1`` calls, without the first call.

    The times of a node that runs several times per call, in a loop, are added.
    """
    durations: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            details = event["args"]
            operator = f"{details['op_name']} ({details['provider']})"
            durations[event["name"].removesuffix(_SUFFIX), operator].append(event["dur"])
    times = [
        OperatorTime(name, operator, 1000 * sum(spent[len(spent) // (calls + 1) :]) // calls)
        for (name, operator), spent in durations.items()
    ]
    return sorted(times, key=lambda time: time.nanoseconds, reverse=True)
