"""Take a TOML table apart key by key; whatever is wrong is named with its full key.

Each key is taken once; ``finish`` refuses those that nobody took, so that a misspelt key is an
error and not a rule that silently stays as it was.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError


class TomlTable:
    """One table of a file.

    Args:
        file: where it comes from, for messages.
        content: its keys.
        key: its own name; empty for the whole file.
    """

    def __init__(self, file: str | Path, content: Mapping[str, Any], key: str = "") -> None:
        self._file = file
        self._content = content
        self._key = key
        self._taken: list[str] = []

    def table(self, key: str) -> "TomlTable":
        """A table inside."""
        held = self._take(key)
        if not isinstance(held, dict):
            raise self._wrong(key, "must be a table")
        return TomlTable(self._file, held, self._full(key))

    def tables(self, key: str) -> tuple["TomlTable", ...]:
        """Tables under one name, written ``[[key]]``."""
        held = self._take(key)
        if not isinstance(held, list) or not all(isinstance(item, dict) for item in held):
            raise self._wrong(key, f"must be tables, each under [[{self._full(key)}]]")
        return tuple(
            TomlTable(self._file, item, f"{self._full(key)}[{index}]")
            for index, item in enumerate(held)
        )

    def lists(self) -> Mapping[str, frozenset[str]]:
        """Every key with its list of texts."""
        return {key: self.strings(key) for key in self._content}

    def text(self, key: str) -> str:
        """A text that is not empty."""
        held = self._take(key)
        if not isinstance(held, str) or not held:
            raise self._wrong(key, "must be a text")
        return held

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """One of a few texts."""
        held, allowed = self._take(key), tuple(choices)
        if held not in allowed:
            raise self._wrong(key, f"must be one of {', '.join(allowed)}")
        return str(held)

    def strings(self, key: str, choices: Iterable[str] = ()) -> frozenset[str]:
        """A list of texts, each one of ``choices`` where there are any."""
        held, allowed = self._take(key), tuple(choices)
        if not isinstance(held, list) or not all(isinstance(item, str) for item in held):
            raise self._wrong(key, "must be a list of texts")
        if allowed and not set(held) <= set(allowed):
            raise self._wrong(key, f"may hold {', '.join(allowed)}")
        return frozenset(held)

    def count(self, key: str) -> int:
        """A whole number that is not negative."""
        held = self._take(key)
        if isinstance(held, bool) or not isinstance(held, int) or held < 0:
            raise self._wrong(key, "must be a whole number, 0 or more")
        return held

    def count_or(self, key: str, word: str) -> int | None:
        """A whole number that is not negative; None for a word that stands for another rule."""
        if self._content.get(key) == word:
            self._take(key)
            return None
        return self.count(key)

    def fractions(self, key: str) -> tuple[float, ...]:
        """A list of numbers between 0 and 1."""
        held = self._take(key)
        if not isinstance(held, list) or not all(
            isinstance(item, float) and 0 < item < 1 for item in held
        ):
            raise self._wrong(key, "must be a list of numbers between 0 and 1")
        return tuple(held)

    def flag(self, key: str) -> bool:
        """True or false."""
        held = self._take(key)
        if not isinstance(held, bool):
            raise self._wrong(key, "must be true or false")
        return held

    def interval(self, key: str) -> tuple[int, int]:
        """A list of the lowest and the highest number that are allowed."""
        held = self._take(key)
        whole = isinstance(held, list) and all(type(item) is int for item in held)
        if not whole or len(held) != 2 or held[0] > held[1]:
            raise self._wrong(key, "must be [lowest, highest]")
        return held[0], held[1]

    def shape(self, key: str, names: Iterable[str]) -> tuple[int | str, ...]:
        """A list of sizes: numbers, "*", or one of ``names``."""
        held, allowed = self._take(key), {"*", *names}
        if not isinstance(held, list) or not all(
            (type(item) is int and item > 0) or (isinstance(item, str) and item in allowed)
            for item in held
        ):
            raise self._wrong(
                key, f"must be a list of numbers above 0, or of {', '.join(sorted(allowed))}"
            )
        return tuple(held)

    def finish(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._content:
            if key not in self._taken:
                near = difflib.get_close_matches(key, self._taken, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._taken)}."
                raise InputError(
                    f"{self._file}: {self._full(key)} is not a key of a policy; {hint}"
                )

    def _take(self, key: str) -> Any:
        self._taken.append(key)
        if key not in self._content:
            raise InputError(f"{self._file}: {self._full(key)} is missing; add it.")
        return self._content[key]

    def _full(self, key: str) -> str:
        return f"{self._key}.{key}" if self._key else key

    def _wrong(self, key: str, what: str) -> InputError:
        shown = str(self._content[key])
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        return InputError(f"{self._file}: {self._full(key)} {what}, and is {shown}.")
