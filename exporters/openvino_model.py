"""Saves a model of OpenVINO so that the same model gives the same bytes.

OpenVINO names a model, and each operator that nobody named, after its type and a number. The number
counts all that the process has made so far. A constant that was folded keeps the name of its
operator.
"""

import re
from itertools import count
from pathlib import Path
from typing import Any

# As OpenVINO names what has no name: Constant_112849.
_UNNAMED = re.compile(r"[A-Z][A-Za-z0-9]*_\d+")


def save(model: Any, path: Path, compress_to_fp16: bool = False) -> None:
    """Save a model as ``path`` and the ``.bin`` beside it.

    Args:
        model: an ``openvino.Model``; its operators without names are numbered anew.
        path: of the XML.
        compress_to_fp16: store weights in float16.
    """
    import openvino

    model.set_friendly_name(path.stem)
    _number_unnamed(model)
    openvino.save_model(model, path, compress_to_fp16=compress_to_fp16)


def _number_unnamed(model: Any) -> None:
    operators = model.get_ordered_ops()
    taken = {each.get_friendly_name() for each in operators if not _is_unnamed(each)}
    free = (number for number in count())
    for each in operators:
        if _is_unnamed(each):
            kind = each.get_type_name()
            each.set_friendly_name(
                next(name for number in free if (name := f"{kind}_{number}") not in taken)
            )


def _is_unnamed(operator: Any) -> bool:
    is_outside = operator.get_type_name() in ("Parameter", "Result")
    return not is_outside and _UNNAMED.fullmatch(operator.get_friendly_name()) is not None
