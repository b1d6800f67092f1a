"""The factor on the logits, as the settings of both attentions state it."""

import math

from slide_deploy.errors import InputError


def check_scale(qk_scale: float | None) -> None:
    """Refuse what is no factor.

    Args:
        qk_scale: the setting.

    Raises:
        InputError: if it is not a finite number.
    """
    if qk_scale is None:
        return
    if isinstance(qk_scale, bool) or not isinstance(qk_scale, int | float):
        raise InputError(f"qk_scale is {qk_scale!r}: give a number, or None for the default.")
    if not math.isfinite(qk_scale):
        raise InputError(f"qk_scale is {qk_scale}: give a finite number.")


def query_scale(head_dim: int, qk_scale: float | None) -> float:
    """The factor: ``qk_scale``; ``head_dim ** -0.5`` where that is None or 0, as in training.

    Args:
        head_dim: features of a head before any reduction.
        qk_scale: the setting.
    """
    return float(qk_scale or head_dim**-0.5)
