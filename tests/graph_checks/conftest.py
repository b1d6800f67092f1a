"""Small files in all three formats, written once for all test processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.graph_checks import small_models
from tests.graph_checks.small_models import (
    Files,
    export,
    exported_nano,
    exported_smallest,
    nano,
)
from tests.shared import once


@pytest.fixture(scope="session")
def exported() -> Files:
    """Files with a batch of 1: format to path."""
    return exported_nano()


@pytest.fixture(scope="session")
def exported_dynamic() -> Files:
    """Files with an open batch: format to path."""
    return once("nano, open batch", lambda folder: export(nano(), folder, dynamic_batch=True))


@pytest.fixture(scope="session")
def smallest() -> Files:
    """The smallest files that hold both kinds of attention, for tests that read them often."""
    return exported_smallest()


@pytest.fixture(scope="session")
def every_form() -> Callable[[str], Path]:
    """The file of a format whose slide attentions are in all forms, in strips and in one piece."""

    def written(format: str) -> Path:
        def write(folder: Path) -> Files:
            model, chooser = small_models.every_form()
            return export(model, folder, lowering=chooser, formats=(format,))

        return once(("every form", format), write)[format]

    return written
