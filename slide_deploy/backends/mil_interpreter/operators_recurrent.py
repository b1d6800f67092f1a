"""Recurrent layers; x (step, batch, feature), states (batch, hidden).

A layer with the direction ``reverse`` reads the steps backwards, and its outputs are in the order
in which it read them. The backward half of a bidirectional layer has its outputs in the order of
the steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

Activation = Callable[[Tensor], Tensor]

# MIL also has "scaled_tanh", but does not define its scales.
_ACTIVATIONS: Mapping[str, Activation] = {
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
}


@dataclass(frozen=True, slots=True)
class _Weights:
    """The weights of one direction, with the gates concatenated along the first axis.

    Attributes:
        of_input: shape (gates * hidden, feature).
        of_state: shape (gates * hidden, hidden).
        bias: shape (gates * hidden,), or None.
    """

    of_input: Tensor
    of_state: Tensor
    bias: Tensor | None

    @property
    def hidden(self) -> int:
        """The number of hidden features."""
        return self.of_state.shape[1]


def rnn(call: OperatorCall) -> list[Tensor]:
    """``h = activation(W x + U h + b)``."""
    weights, activation = _weights(call, 1), _activation(call, "activation", "tanh")
    x, state = _steps(call), call.tensor("initial_h")
    from_input = torch.nn.functional.linear(x, weights.of_input, weights.bias)
    states = []
    for step in from_input:
        state = activation(step + state @ weights.of_state.T)
        states.append(state)
    return [_sequence(call, states), state]


def gru(call: OperatorCall) -> list[Tensor]:
    """A gated recurrent unit; the order of the gates is r, o, z.

    - ``r = recurrent(W_r x + U_r h + b_r)``, and z the same
    - ``o = activation(W_o x + U_o (r h) + b_o)``, or with ``reset_after``
      ``activation(W_o x + c_o + r (U_o h + b_o))`` with the input bias c
    - ``h = (1 - z) o + z h``
    """
    weights, activation = _weights(call, 3), _activation(call, "activation", "tanh")
    recurrent = _activation(call, "recurrent_activation", "sigmoid")
    reset_after = call.flag("reset_after")
    x, state = _steps(call), call.tensor("initial_h")
    bias = torch.zeros(3 * weights.hidden) if weights.bias is None else weights.bias
    bias_r, bias_o, bias_z = bias.chunk(3)
    state_r, state_o, state_z = weights.of_state.chunk(3)
    states = []
    for step in torch.nn.functional.linear(x, weights.of_input, call.optional("input_bias")):
        input_r, input_o, input_z = step.chunk(3, -1)
        reset = recurrent(input_r + state @ state_r.T + bias_r)
        update = recurrent(input_z + state @ state_z.T + bias_z)
        if reset_after:
            candidate = activation(input_o + reset * (state @ state_o.T + bias_o))
        else:
            candidate = activation(input_o + (reset * state) @ state_o.T + bias_o)
        state = (1 - update) * candidate + update * state
        states.append(state)
    return [_sequence(call, states), state]


def lstm(call: OperatorCall) -> list[Tensor]:
    """Long short-term memory; the order of the gates is i, f, o, z.

    - ``i = recurrent(W_i x + U_i h + b_i + p_i c)``, and f the same
    - ``z = cell(W_z x + U_z h + b_z)``
    - ``c = clip(f c + i z)``
    - ``o = recurrent(W_o x + U_o h + b_o + p_o c)`` with the new c
    - ``h = o activation(c)``

    A bidirectional layer concatenates the states of both directions, forward first.
    """
    x, h, c = call.tensor("x"), call.tensor("initial_h"), call.tensor("initial_c")
    direction = call.text("direction", "forward")
    if direction != "bidirectional":
        states, h, c = _lstm_pass(call, _steps(call), h, c, "")
        return [_sequence(call, states), h, c]
    _check_steps(call, x)
    halves = list(zip(h.chunk(2, -1), c.chunk(2, -1), strict=True))
    forward, h_forward, c_forward = _lstm_pass(call, x, *halves[0], "")
    backward, h_backward, c_backward = _lstm_pass(call, x.flip(0), *halves[1], "_back")
    if call.flag("output_sequence"):
        backward = backward[::-1]
    sequence = torch.cat([_sequence(call, forward), _sequence(call, backward)], -1)
    return [
        sequence,
        torch.cat([h_forward, h_backward], -1),
        torch.cat([c_forward, c_backward], -1),
    ]


def _lstm_pass(
    call: OperatorCall, x: Tensor, h: Tensor, c: Tensor, suffix: str
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Run one direction, and return the state after each step and the last ``h`` and ``c``."""
    weights = _weights(call, 4, suffix)
    recurrent = _activation(call, "recurrent_activation", "sigmoid")
    of_cell = _activation(call, "cell_activation", "tanh")
    activation = _activation(call, "activation", "tanh")
    peephole = call.optional(f"peephole{suffix}")
    peephole = torch.zeros(3 * weights.hidden) if peephole is None else peephole
    peep_i, peep_f, peep_o = peephole.chunk(3)
    states = []
    for step in torch.nn.functional.linear(x, weights.of_input, weights.bias):
        gate_i, gate_f, gate_o, gate_z = (step + h @ weights.of_state.T).chunk(4, -1)
        kept = recurrent(gate_f + peep_f * c) * c
        c = kept + recurrent(gate_i + peep_i * c) * of_cell(gate_z)
        if call.has("clip"):
            c = c.clamp(-call.number("clip"), call.number("clip"))
        h = recurrent(gate_o + peep_o * c) * activation(c)
        states.append(h)
    return states, h, c


def _steps(call: OperatorCall) -> Tensor:
    """Return the steps of x in the order in which the layer reads them."""
    x, direction = call.tensor("x"), call.text("direction", "forward")
    _check_steps(call, x)
    if direction not in ("forward", "reverse"):
        raise call.unsupported(f"direction {direction}")
    return x.flip(0) if direction == "reverse" else x


def _check_steps(call: OperatorCall, x: Tensor) -> None:
    if x.dim() != 3 or x.shape[0] == 0:
        raise call.faulty(f"needs steps of rank 3, not {tuple(x.shape)}")
    call.check_size((*x.shape[:2], call.tensor("weight_ih").shape[0]))


def _weights(call: OperatorCall, gates: int, suffix: str = "") -> _Weights:
    weights = _Weights(
        call.tensor(f"weight_ih{suffix}"),
        call.tensor(f"weight_hh{suffix}"),
        call.optional(f"bias{suffix}"),
    )
    if weights.of_state.dim() != 2 or weights.of_state.shape[0] != gates * weights.hidden:
        raise call.faulty(f"has weight_hh of shape {tuple(weights.of_state.shape)}")
    return weights


def _activation(call: OperatorCall, name: str, default: str) -> Activation:
    word = call.text(name, default).lower()
    if word not in _ACTIVATIONS:
        raise call.unsupported(f"{name} {word}")
    return _ACTIVATIONS[word]


def _sequence(call: OperatorCall, states: list[Tensor]) -> Tensor:
    """Return all states, or only the last one, as (step, batch, hidden)."""
    return torch.stack(states if call.flag("output_sequence") else states[-1:])


_REQUIRED = ("x", "initial_h", "weight_ih", "weight_hh")
_OPTIONS = ("bias", "direction", "output_sequence", "activation")

OPERATORS: Operators = {
    "gru": Operator(
        gru, _REQUIRED, (*_OPTIONS, "recurrent_activation", "reset_after", "input_bias")
    ),
    "lstm": Operator(
        lstm,
        (*_REQUIRED, "initial_c"),
        (
            *_OPTIONS,
            *("recurrent_activation", "cell_activation", "clip", "peephole"),
            *("weight_ih_back", "weight_hh_back", "bias_back", "peephole_back"),
        ),
    ),
    "rnn": Operator(rnn, _REQUIRED, _OPTIONS),
}
