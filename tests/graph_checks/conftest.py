"""Small files in all three formats, written once for all test processes."""

import pytest

from tests.graph_checks.small_models import (
    Files,
    every_form,
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
def every_form_exported() -> Files:
    """Files whose slide attentions are in all forms, in one strip and in several."""
    model, chooser = every_form()
    return once("every form", lambda folder: export(model, folder, lowering=chooser))
