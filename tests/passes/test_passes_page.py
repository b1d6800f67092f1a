"""``docs/passes.md`` lists every pass with the first sentence of its docstring."""

from importlib import import_module
from pathlib import Path

import pytest

from slide_deploy.formats import known_formats
from tests.passes.random_networks.names import pass_names

PAGE = (Path(__file__).parents[2] / "docs" / "passes.md").read_text()


@pytest.mark.parametrize("name", pass_names())
def test_the_page_lists_the_pass(name: str) -> None:
    text = import_module(f"slide_deploy.passes.{name}").__doc__ or ""
    sentence = " ".join(text.partition("\n\n")[0].split())
    formats = ", ".join(each.name for each in known_formats() if name in each.passes)
    assert f"| `{name}` | {sentence} | {formats} |\n" in PAGE


def test_the_page_lists_nothing_else() -> None:
    rows = PAGE.partition("## The passes\n")[2].partition("\n## ")[0].splitlines()
    listed = [row.split("`")[1] for row in rows if row.startswith("| `")]
    order = dict.fromkeys(name for each in known_formats() for name in each.passes)
    assert listed == list(order)
