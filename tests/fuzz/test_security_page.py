"""Every promise of the page on security names tests that exist."""

import ast
import re

from tests.fuzz.seeds import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_promise_names_a_test_that_exists() -> None:
    promises = PAGE.partition("## What is not promised")[0]
    rows = [
        line for line in promises.splitlines() if line.startswith("| ") and "| test |" not in line
    ]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            functions = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
            assert name in functions, f"{path}::{name}"


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    from slide_deploy.images.pictures import MOST_PIXELS
    from tests.fuzz.child import MEMORY, SECONDS

    assert f"more than {MOST_PIXELS // 10**6} million pixels" in PAGE
    assert f"{SECONDS} seconds, {MEMORY >> 30} GiB" in PAGE
