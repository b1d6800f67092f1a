"""Options of recurrent layers that torch does not have, against the formulas, step by step."""

import numpy as np
import pytest
import torch
from torch import nn

STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4
SHAPES = {"x": (STEPS, BATCH, FEATURES), "h": (BATCH, HIDDEN), "c": (BATCH, HIDDEN)}


def weights(gates):
    """Weights of one direction, as MIL names them."""
    return {
        "weight_ih": (gates * HIDDEN, FEATURES),
        "weight_hh": (gates * HIDDEN, HIDDEN),
        "bias": (gates * HIDDEN,),
    }


def hard_sigmoid(x):
    return (0.2 * x + 0.5).clamp(0, 1)


def lstm_steps(v, clip, sigmoid, tanh):
    """Each state of an LSTM with peepholes, computed for one image at a time."""
    w_i, w_f, w_o, w_z = v["weight_ih"].split(HIDDEN)
    u_i, u_f, u_o, u_z = v["weight_hh"].split(HIDDEN)
    b_i, b_f, b_o, b_z = v["bias"].split(HIDDEN)
    p_i, p_f, p_o = v["peephole"].split(HIDDEN)
    h, c = v["h"].clone(), v["c"].clone()
    states = torch.zeros(STEPS, BATCH, HIDDEN)
    for step in range(STEPS):
        for image in range(BATCH):
            x, before, cell = v["x"][step, image], h[image].clone(), c[image].clone()
            i = sigmoid(w_i @ x + u_i @ before + b_i + p_i * cell)
            f = sigmoid(w_f @ x + u_f @ before + b_f + p_f * cell)
            z = tanh(w_z @ x + u_z @ before + b_z)
            c[image] = (f * cell + i * z).clamp(-clip, clip)
            o = sigmoid(w_o @ x + u_o @ before + b_o + p_o * c[image])
            h[image] = o * torch.relu(c[image])
            states[step, image] = h[image]
    return [states, h, c]


def gru_steps(v):
    """Each state of a GRU that resets before the product, the steps read backwards."""
    w_r, w_o, w_z = v["weight_ih"].split(HIDDEN)
    u_r, u_o, u_z = v["weight_hh"].split(HIDDEN)
    b_r, b_o, b_z = v["bias"].split(HIDDEN)
    h = v["h"].clone()
    states = torch.zeros(STEPS, BATCH, HIDDEN)
    for step in range(STEPS):
        for image in range(BATCH):
            x, before = v["x"][STEPS - 1 - step, image], h[image].clone()
            r = torch.sigmoid(w_r @ x + u_r @ before + b_r)
            z = torch.sigmoid(w_z @ x + u_z @ before + b_z)
            o = torch.tanh(w_o @ x + u_o @ (r * before) + b_o)
            h[image] = (1 - z) * o + z * before
            states[step, image] = h[image]
    return [states, h]


def torch_gru(v):
    """torch's own GRU, whose gates stand in the order r, z, o."""

    def ordered(values):
        r, o, z = values.split(HIDDEN)
        return torch.cat([r, z, o])

    layer = nn.GRU(FEATURES, HIDDEN)
    names = ("weight_ih", "weight_hh", "input_bias", "bias")
    parameters = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layer.load_state_dict(
        {theirs: ordered(v[name]) for name, theirs in zip(names, parameters, strict=True)}
    )
    with torch.no_grad():
        states, last = layer(v["x"], v["h"][None])
    return [states, last[0]]


def last_alone(results):
    """The last state in the place of all."""
    return [results[0][-1:], *results[1:]]


def recurrent(operator, reference, given, **options):
    """A case of a recurrent layer."""
    states = ("x", "h", "c") if operator == "lstm" else ("x", "h")

    def build(mb, v):
        v = dict(v)
        starts = {"initial_h": v.pop("h")} | ({"initial_c": v.pop("c")} if "c" in v else {})
        return getattr(mb, operator)(**v, **starts, **options)

    return {
        "inputs": {name: SHAPES[name] for name in states},
        "weights": given,
        "mil": build,
        "torch": reference,
    }


def rnn_steps(v):
    """Each state of a plain layer that reads the steps backwards."""
    h, states = v["h"], []
    for x in v["x"].flip(0):
        h = hard_sigmoid(x @ v["weight_ih"].T + h @ v["weight_hh"].T + v["bias"])
        states.append(h)
    return [torch.stack(states), h]


CASES = {
    "lstm": recurrent(
        "lstm",
        lambda v: lstm_steps(v, 0.5, torch.sigmoid, torch.tanh),
        weights(4) | {"peephole": (3 * HIDDEN,)},
        clip=np.float32(0.5),
        activation="relu",
        output_sequence=True,
    ),
    "lstm_hard": recurrent(
        "lstm",
        lambda v: last_alone(lstm_steps(v, 1e9, hard_sigmoid, lambda x: x)),
        weights(4) | {"peephole": (3 * HIDDEN,)},
        recurrent_activation="hard_sigmoid",
        cell_activation="linear",
        activation="relu",
    ),
    "gru": recurrent("gru", gru_steps, weights(3), direction="reverse", output_sequence=True),
    "rnn": recurrent(
        "rnn",
        rnn_steps,
        weights(1),
        direction="reverse",
        output_sequence=True,
        activation="sigmoid_hard",
    ),
}
NEWER = {
    "gru_reset_after": recurrent(
        "gru",
        torch_gru,
        weights(3) | {"input_bias": (3 * HIDDEN,)},
        reset_after=True,
        output_sequence=True,
    ),
}


@pytest.fixture(scope="module")
def family(run_family):
    return run_family(CASES, "float32", "iOS17")


@pytest.fixture(scope="module")
def newer(run_family):
    return run_family(NEWER, "float32", "iOS18")


@pytest.mark.parametrize("name", CASES)
def test_a_layer_follows_its_formula(name, family):
    family.check(name)


def test_a_gru_with_the_reset_after_the_matmul_matches_torch(newer):
    newer.check("gru_reset_after")
