"""Inputs that follow the branches they reach, found by atheris where it is installed.

    pip install atheris

The changes of the reader are its mutations, beside libFuzzer's own. Everything else, from the time
limit to the outcome, is as without it.
"""

import os
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy import PACKAGES

if TYPE_CHECKING:
    from tests.fuzz.child import Trial

_LONGEST = 1 << 20


def is_here() -> bool:
    """Whether atheris is installed."""
    return find_spec("atheris") is not None


def instrument() -> None:
    """Let every module of this project that is imported from now on tell its branches."""
    import atheris

    atheris.instrument_imports(include=[*PACKAGES, "studies"]).__enter__()


def fuzz(trial: "Trial", part: Path, count: int, one: Callable[[int, Path, bytes], None]) -> None:
    """Try so many inputs; the process ends with the last.

    Args:
        trial: of the reader.
        part: the file that is damaged.
        count: of inputs.
        one: tries an input.
    """
    import atheris

    tried = 0

    def test(content: bytes) -> None:
        nonlocal tried
        if tried >= count:
            os._exit(0)
        one(tried, part, content)
        tried += 1

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.3:
            changed: Any = atheris.Mutate(content, most)
        else:
            changed = trial.reader.damage(rng, bytes(content))
        return bytes(changed[:most])

    inputs = trial.folder / "guided"
    inputs.mkdir()
    (inputs / "valid").write_bytes((trial.folder / "valid" / part).read_bytes())
    options = [
        *(f"-runs={count + 100}", f"-max_len={_LONGEST}", "-len_control=0", "-timeout=0"),
        *("-rss_limit_mb=0", "-malloc_limit_mb=0", "-seed=7", "-print_final_stats=0"),
    ]
    atheris.Setup([sys.argv[0], *options, str(inputs)], test, custom_mutator=mutate)
    atheris.Fuzz()
