"""Changes to what a file declares, alike in every format."""

import json


def another_form(text: str) -> str:
    """The declaration of slide attentions, the first in a form that it does not have."""
    first, *others = json.loads(text)
    return json.dumps([{**first, "lowering": "per-offset"}, *others])


def more_strips(text: str) -> str:
    """The declaration of slide attentions, the first in two strips."""
    first, *others = json.loads(text)
    return json.dumps([{**first, "strips": 2}, *others])


def one_normalisation_more(text: str) -> str:
    """The declaration of normalisations with one more of the first epsilon."""
    first, *others = json.loads(text)
    return json.dumps([{**first, "count": first["count"] + 1}, *others])


def one_epsilon_more(text: str) -> str:
    """The declaration of normalisations where one has the epsilon 1e-6."""
    first, *others = json.loads(text)
    other = {"epsilon": 1e-6, "count": 1}
    return json.dumps([{**first, "count": first["count"] - 1}, other, *others])
