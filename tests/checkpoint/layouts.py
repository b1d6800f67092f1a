"""One small network in the checkpoint layouts of training frameworks.

Each layout is a function from the right state dict to what ``torch.save`` gets. Weights that must
not be taken are zeros or noise, so that taking them is seen.
"""

import argparse
import collections
import datetime
import enum
import pathlib
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]
Layout = Callable[[State], Any]


class Colour(enum.Enum):
    RED = 1


class Run:
    """A class that only this process has."""

    def __init__(self) -> None:
        self.step = 3


def zeros(state: State) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def noise(state: State) -> State:
    generator = torch.Generator().manual_seed(0)
    return {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def body(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(("head.", "norm."))}


def infix(part: str, state: State) -> State:
    """A wrapper's part behind the number of every block."""
    return {
        re.sub(r"(blocks\.\d+)\.", rf"\1.{part}.", name): value for name, value in state.items()
    }


def nested(state: State) -> dict[str, Any]:
    """Dicts in dicts in place of dotted names."""
    tree: dict[str, Any] = {}
    for name, tensor in state.items():
        inner, parts = tree, name.split(".")
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
        inner[parts[-1]] = tensor
    return tree


def moved_downsample(state: State) -> State:
    return {
        re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name
        ): value
        for name, value in state.items()
    }


def frozen_left_out(state: State) -> State:
    """What a moving average of the trained parameters holds: not the shift branch."""
    return {name: value for name, value in state.items() if ".dep_conv." not in name}


def torch_swa(state: State) -> dict[str, Any]:
    return {
        "model": zeros(state),
        "swa_model": {**under("module.", state), "n_averaged": torch.tensor(7)},
    }


def _is_buffer(name: str) -> bool:
    return name.endswith(
        ("relative_position_index", "attn_mask", "dep_conv.weight", "dep_conv.bias")
    )


def _shared_backbone(state: State) -> dict[str, Any]:
    """Two networks that share all but the head."""
    shared = {name: value for name, value in state.items() if not name.startswith("head.")}
    head = {name[5:]: value for name, value in state.items() if name.startswith("head.")}
    return {
        "model": {"backbone": shared, "head": zeros(head)},
        "ema": {"backbone": shared, "head": head},
    }


CLASSIFIERS: Mapping[str, Layout] = {
    "bare": lambda s: s,
    "lightning": lambda s: {
        "state_dict": under("model.", s),
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 1e-3},
        "callbacks": {"ModelCheckpoint{'monitor': 'acc'}": {"best_model_path": "x.ckpt"}},
    },
    "lightning beside a loss and metrics": lambda s: {
        "state_dict": {
            **under("net.", s),
            "criterion.weight": torch.ones(4),
            "val_acc.tp": torch.zeros(1),
        }
    },
    "lightning's weight averaging, which swaps": lambda s: {
        "state_dict": under("net.", s),
        "current_model_state": under("net.", zeros(s)),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "a callback of lightning": lambda s: {
        "state_dict": under("net.", zeros(s)),
        "callbacks": {"EMACallback": {"ema_weights": under("net.", s)}},
    },
    "compiled": lambda s: {"state_dict": under("model._orig_mod.", s)},
    "fully sharded": lambda s: {
        "model": under("_fsdp_wrapped_module.", infix("_fsdp_wrapped_module", s))
    },
    "activation checkpointing": lambda s: {"model": infix("_checkpoint_wrapped_module", s)},
    "a wrapper that nobody knows": lambda s: {"model": infix("wrapped_by_me", s)},
    "torch's averaged model": lambda s: {
        "model": zeros(s),
        "model_ema": {**under("module.", s), "n_averaged": torch.tensor(100)},
    },
    "torch's swa": torch_swa,
    "averaging that had not begun": lambda s: {
        "model": s,
        "swa_model": {**under("module.", zeros(s)), "n_averaged": torch.tensor(0)},
    },
    "timm": lambda s: {
        "epoch": 3,
        "state_dict": zeros(s),
        "state_dict_ema": under("module.", s),
        "args": argparse.Namespace(lr=0.1, output=pathlib.PosixPath("runs/1")),
    },
    "a shadow": lambda s: {"model": zeros(s), "ema": {"decay": 0.999, "shadow": s}},
    "a shadow without what is frozen": lambda s: {
        "model": {n: v if ".dep_conv." in n else torch.zeros_like(v) for n, v in s.items()},
        "ema": {"shadow": frozen_left_out(s)},
    },
    "a shadow of parameters alone": lambda s: {
        "model": {n: v if _is_buffer(n) else torch.zeros_like(v) for n, v in s.items()},
        "ema": {"shadow": {n: v for n, v in frozen_left_out(s).items() if not _is_buffer(n)}},
    },
    "a decay as key": lambda s: {"model": zeros(s), "ema": {0.9999: s}},
    "lightning's swa": lambda s: {
        "state_dict": under("model.", zeros(s)),
        "callbacks": {
            "StochasticWeightAveraging": {
                "n_averaged": 3,
                "average_model_state": under("model.", s),
            }
        },
    },
    "lightning's swa before it began": lambda s: {
        "state_dict": under("model.", s),
        "callbacks": {
            "StochasticWeightAveraging": {
                "n_averaged": 0,
                "average_model_state": under("model.", zeros(s)),
            }
        },
    },
    "lightning's averaging before it began": lambda s: {
        "state_dict": under("net.", zeros(s)),
        "current_model_state": under("net.", s),
        "averaging_state": {"n_averaged": torch.tensor(0)},
    },
    "a shadow before it began": lambda s: {
        "model": s,
        "ema": {"num_updates": 0, "shadow": zeros(s)},
    },
    "averages alone that had not begun": lambda s: {
        "swa_model": {**under("module.", s), "n_averaged": torch.tensor(0)}
    },
    "an average of a figure": lambda s: {"model": s, "avg_acc": {"best": 81.5}},
    "one backbone in two entries": lambda s: _shared_backbone(s),
    "moments of another optimiser": lambda s: {
        "model": s,
        "optimizer": {"state": {i: {"exp_avg_diff": v} for i, v in enumerate(noise(s).values())}},
    },
    "a long history": lambda s: {"model": s, "history": [0.5] * 2000},
    "a pickle of tensors": lambda s: s,
    "ema_model": lambda s: {"model": zeros(s), "ema_model": s},
    "ema_pytorch": lambda s: {
        "online_model": zeros(s),
        "ema_model": s,
        "initted": torch.tensor(True),
        "step": torch.tensor(3),
    },
    "ema_model_state_dict": lambda s: {"model_state_dict": zeros(s), "ema_model_state_dict": s},
    "averaged_model": lambda s: {"model": zeros(s), "averaged_model": s},
    "basicsr": lambda s: {"params": zeros(s), "params_ema": s},
    "an average inside the state dict": lambda s: {
        "state_dict": {**under("net.", zeros(s)), **under("net_ema.module.", s)}
    },
    "student and teacher": lambda s: {
        "student": under("module.backbone.", zeros(s)),
        "teacher": under("backbone.", s),
    },
    "an encoder": lambda s: {"model": {**under("encoder.", s), "decoder.weight": torch.ones(3)}},
    "nested": lambda s: {"params": nested(s)},
    "in a list": lambda s: {"models": [s]},
    "in an object": lambda s: types.SimpleNamespace(weights=s),
    "deepspeed": lambda s: {"module": s, "ds_version": "0.15", "buffer_names": []},
    "the same weights twice": lambda s: {"model": s, "best": {n: v.clone() for n, v in s.items()}},
    "an optimiser that names its weights": lambda s: {
        "model": s,
        "optimizer": {"state": {"exp_avg": noise(s), "exp_avg_sq": noise(s)}},
    },
    "profiler counts": lambda s: {
        **s,
        **{n.rpartition(".")[0] + ".total_ops": torch.zeros(1).double() for n in s},
    },
    "a loss": lambda s: {"model": {**s, "criterion.weight": torch.ones(4)}},
    "mmcv's averages": lambda s: {
        "state_dict": {**s, **{"ema_" + n.replace(".", "_"): v for n, v in zeros(s).items()}}
    },
    "head.fc": lambda s: {re.sub(r"^head\.", "head.fc.", name): v for name, v in s.items()},
    "merging moved": moved_downsample,
    "mmpretrain": lambda s: {
        "state_dict": {
            **under("backbone.", body(s)),
            **{f"backbone.norm3.{n[5:]}": v for n, v in s.items() if n.startswith("norm.")},
            **{f"head.fc.{n[5:]}": v for n, v in s.items() if n.startswith("head.")},
        }
    },
    "numpy arrays": lambda s: {"model": {name: tensor.numpy() for name, tensor in s.items()}},
    "parameters": lambda s: {
        n: torch.nn.Parameter(v, requires_grad=v.is_floating_point())
        if v.is_floating_point()
        else v
        for n, v in s.items()
    },
    "inert objects": lambda s: {
        "model": s,
        "out": pathlib.PosixPath("runs/1"),
        "when": datetime.datetime(2026, 1, 1),
        "args": types.SimpleNamespace(a=1),
        "queue": collections.deque([1, 2]),
        "counts": collections.defaultdict(list, a=[1]),
        "colour": Colour.RED,
        "run": Run(),
        "generator": np.random.default_rng(0),
        "scalar": np.float64(81.5),
        "optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]),
        "device": torch.device("cpu"),
        "a set": {1, 2},
    },
}
"""Layouts of a classifier. Each must load the right weights, with at most the image size given."""

BACKBONES: Mapping[str, Layout] = {
    "mmengine, which swaps": lambda s: {
        "meta": {"mmengine_version": "0.10.4", "epoch": 12},
        "state_dict": {**under("backbone.", body(s)), "neck.x": torch.zeros(2)},
        "ema_state_dict": {
            **under("module.backbone.", noise(body(s))),
            "module.neck.x": torch.zeros(2),
            "steps": torch.tensor(100),
        },
    },
    "a detector without normalisations": lambda s: {
        "state_dict": {**under("backbone.", body(s)), "bbox_head.w": torch.zeros(3)}
    },
    "a detector whose head has scales and parametrised weights": lambda s: {
        "state_dict": {
            **under("backbone.", body(s)),
            "bbox_head.scales.0.scale": torch.ones(1),
            "bbox_head.conv.weight_g": torch.ones(3),
            "neck.adapter.weight": torch.ones(3),
        }
    },
    "an encoder without a classifier": lambda s: {
        "model": {n: v for n, v in s.items() if not n.startswith("head.")}
    },
}
"""Layouts of a network whose stages are used, without a classifier."""
