"""Times of operators, from ONNX Runtime's own profiler."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slide_deploy.backends.base import Configuration, OperatorTime, Stream

# Opens a file with the profiler on: path, configuration, prefix of the profiler's file.
Open = Callable[[Path, Configuration, Path], tuple[Any, Stream]]

_SUFFIX = "_kernel_time"


def profile(
    open_file: Open, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Mean time of each node over some calls, slowest first; a first call is left out.

    Raises:
        InputError: for a file or a configuration that cannot run there.
    """
    with TemporaryDirectory() as folder:
        session, stream = open_file(path, configuration, Path(folder) / "profile")
        for _ in range(calls + 1):
            stream.run()
        events = json.loads(Path(session.end_profiling()).read_text())
    return operator_times(events, calls)


def operator_times(events: Sequence[dict[str, Any]], calls: int) -> list[OperatorTime]:
    """The nodes among the events of ``calls + 1`` calls, whose first is left out.

    A node in a loop runs several times a call; its times are added.
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
