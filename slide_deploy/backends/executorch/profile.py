"""Operator times from the events that ExecuTorch records."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Configuration, OperatorTime, untimed
from slide_deploy.backends.executorch.delegates import ExecuTorchDelegate
from slide_deploy.backends.executorch.method import MethodCalls, load_library, open_on, open_program
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.native_messages import muted
from slide_deploy.files.scratch import temporary_folder

# Events that enclose others, whose time would be counted twice.
_AROUND = ("DELEGATE_CALL", "OPERATOR_CALL", "Method::execute")
_NATIVE = "native_call_"


def profile(
    delegate: ExecuTorchDelegate, path: Path, configuration: Configuration, calls: int
) -> Sequence[OperatorTime]:
    """Return the mean time of each operator after a warm-up call, slowest first; see `Target`."""
    session = open_on(delegate, path, replace(configuration, streams=1), untimed)
    opened = open_program(load_library(), path, delegate.target, timed=True)
    stream = MethodCalls(opened, [port.name for port in session.inputs])
    stream.bind(random_arrays(session.inputs))
    for _ in range(calls + 1):
        stream.run()
    with temporary_folder() as folder, muted():
        written = folder / "events.etdp"
        opened.program.write_etdump_result_to_file(str(written), str(folder / "values.bin"))
        from executorch.devtools import Inspector

        events = Inspector(etdump_path=str(written)).event_blocks
    times = [time for block in events if block.name == "Execute" for time in _times(block.events)]
    return sorted(times, key=lambda time: time.nanoseconds, reverse=True)


def _times(events: Any) -> Iterator[OperatorTime]:
    """Yield one time per event: of an operator of the delegate, or of ExecuTorch's own kernels."""
    for place, event in enumerate(events):
        if event.name in _AROUND or event.perf_data is None or not event.perf_data.raw:
            continue
        milliseconds = event.perf_data.raw[1:] or event.perf_data.raw
        operator = event.name.removeprefix(_NATIVE)
        where = "delegate" if event.is_delegated_op else "portable kernel"
        mean = sum(milliseconds) / len(milliseconds)
        name = f"{place} {operator}"
        yield OperatorTime(name, f"{operator.split(' #')[0]} ({where})", int(mean * 1e6))
