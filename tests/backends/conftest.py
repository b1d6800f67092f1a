"""Small files, written before a stand-in takes the place of any library."""

from pathlib import Path

import pytest

from tests.backends import files


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `files.write_all`."""
    return files.write_all(tmp_path_factory.mktemp("files"))
