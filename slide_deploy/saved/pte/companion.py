"""Names and metadata that the exporter stores in a ``.pte`` file, which has no field for them.

A file may have methods that return a constant. One of them returns a string, which is JSON::

    {"inputs": ["image"], "outputs": ["logits"], "metadata": {"slide_deploy.census": "..."}}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slide_deploy.saved.pte.program import Method, PteProgram

METHOD = "slide_deploy"


@dataclass(frozen=True)
class Companion:
    """Names and metadata of a file.

    Attributes:
        inputs: names, in order; the format itself has none.
        outputs: names, in order.
        metadata: strings by key.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def companion_text(
    inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str]
) -> str:
    """Return the string for the method."""
    content = {"inputs": list(inputs), "outputs": list(outputs), "metadata": dict(metadata)}
    return json.dumps(content, separators=(",", ":"))


def read_companion(program: PteProgram) -> Companion:
    """Read the companion of a file, which is empty for a file of another exporter.

    Raises:
        ValueError: if it is damaged; the message is a clause.
    """
    text = program.text_of(METHOD)
    if not text:
        return Companion()
    try:
        content = json.loads(text)
        names = [content[key] for key in ("inputs", "outputs")]
        metadata = content["metadata"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the metadata of slide-deploy in it is damaged") from error
    texts = [*metadata.items()] if isinstance(metadata, dict) else [(None, None)]
    lists = [each for each in names if isinstance(each, list)]
    every = [*(item for pair in texts for item in pair), *(item for each in lists for item in each)]
    if len(lists) != 2 or not all(isinstance(item, str) for item in every):
        raise ValueError("the metadata of slide-deploy in it is damaged")
    return Companion(tuple(names[0]), tuple(names[1]), metadata)


def value_names(method: Method, companion: Companion) -> dict[int, str]:
    """Return the name of each value of a method, by its index.

    Raises:
        ValueError: if two inputs or outputs have one name; the message is a clause.
    """
    names: dict[int, str] = {}
    for kind, numbers, stored in (
        ("input", method.inputs, companion.inputs),
        ("output", method.outputs, companion.outputs),
    ):
        for place, number in enumerate(numbers):
            names.setdefault(number, stored[place] if place < len(stored) else f"{kind} {place}")
    if len(set(names.values())) < len(names):
        raise ValueError("two of its inputs and outputs have one name")
    taken = set(names.values())
    for number in range(len(method.values)):
        if number not in names:
            name = f"value {number}"
            names[number] = name if name not in taken else f"{name} of forward"
    return names
