"""Intermediates of a ``.pte`` file, as far as ExecuTorch exposes them.

It records what every instruction computes: the outputs of its own kernels, and the inputs and
outputs of a delegate. What a delegate computes internally is not recorded.
"""

from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds
from slide_deploy.backends.executorch.delegates import ExecuTorchDelegate
from slide_deploy.backends.executorch.method import (
    MethodCalls,
    described,
    load_library,
    open_program,
)
from slide_deploy.backends.native_messages import muted
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.saved.pte.companion import value_names
from slide_deploy.saved.pte.program import Instruction, Method, PteTensor, tensors_in

# Bytes for records other than the values, and for padding between them.
_SPARE = 1 << 20


def intermediates(delegate: ExecuTorchDelegate, path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that one instruction passes to another; see `Target`."""
    method, companion = described(path, delegate, Configuration())
    names = value_names(method, companion)
    library = load_library()
    opened = open_program(library, path, delegate.target, recorded=_bytes(method))
    stream = MethodCalls(opened, [names[number] for number in method.inputs])
    stream.bind(feeds)
    stream.run()
    found: dict[str, np.ndarray] = {}
    with temporary_folder() as folder, muted():
        events, values = (folder / name for name in ("events.etdp", "values.bin"))
        opened.program.write_etdump_result_to_file(str(events), str(values))
        from executorch.devtools import Inspector

        blocks = Inspector(etdump_path=str(events), debug_buffer_path=str(values)).event_blocks
        for event in (event for block in blocks for event in block.events):
            place = event._instruction_id
            if event.debug_data and place is not None and 0 <= place < len(method.instructions):
                numbers = _shown(method, method.instructions[place])
                for number, value in zip(numbers, event.debug_data, strict=False):
                    array = np.array(value)
                    if array.dtype.kind == "f":
                        found[names[number]] = array
    return found


def _shown(method: Method, step: Instruction) -> list[int]:
    """Return the indices of the values that are recorded for an instruction, in order."""
    if step.delegate is not None:
        return list(step.arguments)
    return list(tensors_in(method, step.arguments[-1])) if step.arguments else []


def _bytes(method: Method) -> int:
    """Return the bytes needed for everything recorded; an operator's values are recorded twice."""
    numbers = [number for step in method.instructions for number in _shown(method, step)]
    sizes = [
        int(np.prod(held.sizes, dtype=np.int64)) * 8
        for number in numbers
        if isinstance(held := method.values[number], PteTensor)
    ]
    return 2 * sum(sizes) + 64 * len(numbers) + _SPARE
