"""Core AI's backend as verification opens it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import untimed
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.coreai.session import inner_values, open_session
from slide_deploy.runtimes.base import Feeds, Port, Session

__all__ = ["inner_values", "load"]


def load(path: Path) -> Session:
    """Open an ``.aimodel``.

    Raises:
        InputError: if it is damaged, or Core AI refuses it.
    """
    opened = open_session(path, Configuration(), untimed)
    stream = opened.new_stream()

    def run(feeds: Feeds) -> Sequence[np.ndarray]:
        stream.bind(feeds)
        stream.run()
        return stream.read()

    ports = tuple(Port(each.name, each.shape, each.dtype) for each in opened.inputs)
    return Session(opened.runtime, opened.version, ports, opened.outputs, run, opened.metadata)
