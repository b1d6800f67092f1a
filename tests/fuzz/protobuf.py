"""Change fields of a protobuf message, so that it stays a message and stops making sense."""

import contextlib
import random
from typing import Any

from google.protobuf.message import Message

STRANGE: dict[type, tuple[Any, ...]] = {
    bool: (True, False),
    int: (0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63)),
    float: (0.0, -1.0, 1e30, float("nan"), float("inf")),
    str: ("", "x", "image", "Conv", "conv", "Loop", "logits", "a b\n", "é" * 500),
    bytes: (b"", b"\0" * 7, b"x" * 64),
}


def alter(rng: random.Random, message: Message) -> None:
    """Change one field somewhere inside: its value, or the order or number of what it holds."""
    fields = message.ListFields()
    if not fields:
        return
    descriptor, value = rng.choice(fields)
    if isinstance(value, Message):
        if rng.random() < 0.05:
            message.ClearField(descriptor.name)
        else:
            alter(rng, value)
    elif hasattr(value, "keys"):
        key = rng.choice(sorted(value))
        if isinstance(value[key], Message):
            alter(rng, value[key])
        else:
            value[key] = rng.choice(STRANGE[type(value[key])])
    elif isinstance(value, tuple(STRANGE)):
        with out_of_range():
            setattr(message, descriptor.name, rng.choice(STRANGE[type(value)]))
    elif isinstance(value[0], Message):
        if rng.random() < 0.2:
            rearrange(rng, value)
        else:
            alter(rng, rng.choice(value))
    else:
        with out_of_range():
            value[rng.randrange(len(value))] = rng.choice(STRANGE[type(value[0])])


def rearrange(rng: random.Random, values: Any) -> None:
    """Lose, repeat or exchange messages of a repeated field."""
    items = list(values)
    first, second = rng.randrange(len(items)), rng.randrange(len(items))
    action = rng.choice(("lose", "repeat", "exchange"))
    if action == "lose":
        del items[first]
    elif action == "repeat":
        items.insert(second, items[first])
    else:
        items[first], items[second] = items[second], items[first]
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del values[:]
    values.extend(copies)


def out_of_range() -> contextlib.suppress:
    """Some strange numbers do not fit some types; the message then stays as it is."""
    return contextlib.suppress(ValueError, TypeError)
