"""Bytes of a weight file that no constant uses.

Writers align tensors by zeros between them. A longer gap, or one with other bytes, is a weight that
nothing reads.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import LeftOver

# Core ML aligns every tensor to 64 bytes; ONNX and OpenVINO align to less.
_ALIGNMENT = 64

Place = tuple[int, int]
"""The first byte, and the one after the last."""


def unread(
    name: str, content: NDArray[np.uint8], read: Iterable[Place], alignment: int = _ALIGNMENT
) -> Iterator[LeftOver]:
    """Yield the bytes between and after the places that a graph reads.

    Args:
        name: name of the file, for messages.
        content: its bytes.
        read: places in any order; they may overlap.
        alignment: the format's alignment of tensors, in bytes.
    """
    behind = 0
    for start, end in (*sorted(read), (content.size, content.size)):
        if start > behind and not _is_padding(content[behind:start], alignment):
            yield LeftOver(f"bytes {behind:,} to {start - 1:,} of {name}", start - behind)
        behind = max(behind, end)


def _is_padding(gap: NDArray[np.uint8], alignment: int) -> bool:
    return gap.size < alignment and not gap.any()
