"""Small files in all three formats, written once a session."""

import pytest

from tests.graph_checks.small_models import Files, every_form, export, nano
from tests.support import random_swin


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files with a batch of 1: format to path."""
    return export(nano(), tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def exported_dynamic(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files with an open batch: format to path."""
    return export(nano(), tmp_path_factory.mktemp("dynamic"), dynamic_batch=True)


@pytest.fixture(scope="session")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The smallest files that hold both kinds of attention, for tests that read them often."""
    model = random_swin(
        image_size=(16, 16), embed_dim=4, depths=(1, 1), num_heads=(1, 2), num_slide_stages=1
    )
    return export(model, tmp_path_factory.mktemp("smallest"))


@pytest.fixture(scope="session")
def every_form_exported(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files whose slide attentions are in all forms, in one strip and in several."""
    model, chooser = every_form()
    return export(model, tmp_path_factory.mktemp("forms"), lowering=chooser)
