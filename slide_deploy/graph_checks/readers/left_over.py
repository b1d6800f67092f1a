"""Bytes of a weight file that no constant points to.

A writer aligns tensors by zeros between them; anything longer, or not zero, is a weight that nobody
reads.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import LeftOver

# Core ML puts every tensor at a multiple of 64 bytes; ONNX and OpenVINO do with less.
_ALIGNMENT = 64

Place = tuple[int, int]
"""The first byte, and the one behind the last."""


def unread(
    name: str, content: NDArray[np.uint8], read: Iterable[Place], alignment: int = _ALIGNMENT
) -> Iterator[LeftOver]:
    """What stands between the places that a graph reads, and behind them.

    Args:
        name: of the file, for messages.
        content: its bytes.
        read: places in any order; they may overlap.
        alignment: at whose multiples the format puts tensors.
    """
    behind = 0
    for start, end in (*sorted(read), (content.size, content.size)):
        if start > behind and not _is_padding(content[behind:start], alignment):
            yield LeftOver(f"bytes {behind:,} to {start - 1:,} of {name}", start - behind)
        behind = max(behind, end)


def _is_padding(gap: NDArray[np.uint8], alignment: int) -> bool:
    return gap.size < alignment and not gap.any()
