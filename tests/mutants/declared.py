"""Changes to the declarations of a file, the same in every format."""

import json
from collections.abc import Callable
from typing import Any

Change = Callable[[str], str]


def _census(change: Callable[[list[dict[str, Any]]], None]) -> Change:
    """The census with other entries."""

    def edit(text: str) -> str:
        content = json.loads(text)
        change(content["mixings"])
        return json.dumps(content)

    return edit


def _first_of_slide_attention(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return next(entry for entry in entries if entry.get("slide_attention") and "groups" in entry)


def _wider(entries: list[dict[str, Any]]) -> None:
    _first_of_slide_attention(entries)["outputs"] *= 2


def _with_larger_kernels(entries: list[dict[str, Any]]) -> None:
    _first_of_slide_attention(entries)["kernel"] = [5, 5]


def _with_one_more(entries: list[dict[str, Any]]) -> None:
    entries[-1]["least"] += 1
    entries[-1]["most"] += 1


def _twice(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        entry["least"] *= 2
        entry["most"] *= 2


def _invented(entries: list[dict[str, Any]]) -> None:
    entries.append({"inputs": 7, "outputs": 11, "least": 1, "most": 1})


another_geometry = _census(_wider)
another_kernel = _census(_with_larger_kernels)
one_mixing_more = _census(_with_one_more)
every_mixing_twice = _census(_twice)
one_geometry_less = _census(lambda entries: entries.remove(_first_of_slide_attention(entries)))
one_geometry_invented = _census(_invented)
no_geometry = _census(lambda entries: entries[0].pop("inputs"))
half_a_mixing = _census(lambda entries: entries[0].update(most=0.5))
strides_that_do_not_fit = _census(lambda entries: entries[0].update(strides=[1]))
counted_twice = _census(lambda entries: entries.append(entries[0]))


def no_json(text: str) -> str:
    """Text that is not JSON."""
    return "[{"


def one_normalisation_more(text: str) -> str:
    """The declaration of normalisations with one more of the first epsilon."""
    first, *others = json.loads(text)
    more = {"count": first["count"] + 1, "most": first["most"] + 1}
    return json.dumps([{**first, **more}, *others])


def a_larger_image(text: str) -> str:
    """The declaration of inputs and outputs with an image of another height."""
    content = json.loads(text)
    content["inputs"][0]["shape"][2] += 1
    return json.dumps(content)
