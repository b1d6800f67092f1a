"""What tests share is made once, whoever asks."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import shared
from tests.shared import once


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_root", tmp_path)


def test_all_who_ask_at_once_get_what_was_made_once() -> None:
    calls: list[Path] = []

    def make(folder: Path) -> Path:
        calls.append(folder)
        (folder / "file").write_text(str(len(calls)))
        return folder / "file"

    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: once("key", make), range(8)))
    assert [path.read_text() for path in paths] == ["1"]
    assert once("another key", make).read_text() == "2"


def test_a_call_that_fails_leaves_nothing_to_the_next() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError

    with pytest.raises(ValueError):
        once("key", fail)
    assert once("key", lambda folder: list(folder.iterdir())) == []
