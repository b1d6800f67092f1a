"""Run an asset on the runtime in Apple's package coreai-core.

That runtime is an interpreter: a compiler turns the program into instructions, and a virtual
machine calls one kernel per instruction, on one thread. The kernels are those of the package, not
those of Apple's devices. So the runtime proves what an asset computes, but its speed is
meaningless.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import (
    Configuration,
    Feeds,
    FunctionStream,
    Port,
    Session,
    Stage,
    untimed,
)
from slide_deploy.backends.native_messages import message_lines, muted
from slide_deploy.backends.refusals import refuse_options, refuse_precision
from slide_deploy.errors import InputError
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.saved.aimodel import Asset, compiled, open_asset

TARGET, RUNTIME, LIBRARY = "coreai:cpu", "coreai", "coreai-core"


def open_session(path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Open an ``.aimodel``; see `Target`."""
    refuse_options(TARGET, configuration.options, ())
    refuse_precision(TARGET, configuration.precision)
    with stage("import"):
        import coreai.runtime  # noqa: F401
    asset = open_asset(path)
    function, _ = load(asset, stage)
    described = function.desc
    ports = tuple(_port(name, described.input_descriptor(name)) for name in described.input_names)
    outputs = tuple(described.output_names)
    if not ports or not outputs:
        raise InputError(f"{path} has no input or no output: export the model again.")
    return Session(
        RUNTIME,
        version(LIBRARY),
        ports,
        outputs,
        lambda: FunctionStream(partial(_outputs, function, outputs)),
        {"runtime": "virtual machine of coreai-core, one thread"},
        asset.metadata,
    )


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that the program computes, by its name; see `Target`.

    Values inside composite operators are left out.
    """
    function, named = load(open_asset(path), with_intermediates=True)
    try:
        values = _outputs(function, tuple(named), feeds)
    except Exception as error:  # the library has no class of its own
        raise InputError(f"{path} does not run on Core AI ({message_lines(error)[0]}).") from error
    found = zip(named.values(), values, strict=True)
    return {name: held for name, held in found if held.dtype.kind == "f"}


def load(
    asset: Asset, stage: Stage = untimed, with_intermediates: bool = False
) -> tuple[Any, Mapping[str, str]]:
    """Compile and load an asset.

    Returns:
        The library's function, and for each of its outputs the name of the value in the program.

    Raises:
        InputError: if Core AI refuses the asset.
    """
    from coreai.runtime import AIModel

    with temporary_folder() as parent:
        folder = parent / "asset.aimodelx"
        folder.mkdir()
        with stage("compile"):
            outputs = compiled(asset, folder, with_intermediates)
        try:
            with stage("read"), muted():
                model = _wait(AIModel.load(path=str(folder)))
                function = model.load_function(model.function_names[0])
        except Exception as error:  # the library has no class of its own
            raise InputError(
                f"{asset.path} does not load on Core AI ({message_lines(error)[0]})."
            ) from error
    return function, outputs


def _outputs(function: Any, outputs: Sequence[str], feeds: Feeds) -> list[np.ndarray]:
    """Call a function of the library."""
    from coreai.runtime import NDArray

    given = {name: NDArray(np.ascontiguousarray(values)) for name, values in feeds.items()}
    results = _wait(function(given))
    # Copies, because the arrays may be views of the library's results.
    return [np.array(results[name].numpy()) for name in outputs]


def _wait(coroutine: Any) -> Any:
    """Return the result of a coroutine of the library.

    It runs in another thread, because the caller's may already run an event loop, as in a notebook.
    """

    async def waited() -> Any:
        return await coroutine

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(waited())).result()


def _port(name: str, described: Any) -> Port:
    sizes = tuple(None if size is None or size < 0 else int(size) for size in described.shape)
    return Port(name, sizes, str(described.dtype))
