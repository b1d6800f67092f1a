"""Find the feature map size of each slide attention, by running the network once."""

import inspect
from typing import Any

import torch
from torch import nn

from slide_deploy.deployable.reasons import reason_of
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.models.slide_attention import SlideAttentionBase


def set_feature_map_sizes(deployable: Deployable, folded: nn.Module) -> None:
    """Set ``resolution`` of the folded attentions that do not have one yet, in place.

    An attention that is called several times gets its largest feature map, which takes most of the
    time.

    Raises:
        InputError: if the network uses the layers inside its attentions, which folding removes.
    """
    unknown = [
        module
        for module in folded.modules()
        if isinstance(module, SlideAttentionBase) and module.resolution is None
    ]
    if not unknown:
        return
    seen: dict[int, tuple[int, int]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(module, SlideAttentionBase)
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        found = tuple(given["x"].shape[2:]) if module.layout == "nchw" else given.get("size")
        if found is not None:
            known = seen.get(id(module), (0, 0))
            larger = found[0] * found[1] > known[0] * known[1]
            seen[id(module)] = (int(found[0]), int(found[1])) if larger else known

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in unknown]
    try:
        with torch.no_grad():
            deployable.network(folded)(*deployable.examples)
    except Exception as error:  # a user's network, any error
        raise InputError(
            f"{deployable.origin.name} cannot be run once its slide attentions are folded "
            f"({reason_of(error)}): it must call them as a whole, without using their layers."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    for module in unknown:
        module.resolution = seen.get(id(module))
