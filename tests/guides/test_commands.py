"""Every command in the documentation is one that the command line, make or pip takes."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from slide_deploy.cli import app
from tests.guides.snippets import DOCS, PAGES, ROOT, blocks

_OPERATORS = {"|", "||", "&&", ";", "&", ">", "<"}


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each command on a page; those of a pipe one after the other."""
    for block in blocks(page):
        for command in block.commands:
            lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in (*lexer, ";"):
                if word in _OPERATORS:
                    yield words
                    words = []
                else:
                    words.append(word)


def parse(words: list[str]) -> None:
    """Have the command line read the words behind its name, and run nothing."""
    group = typer.main.get_command(app)
    above = group.make_context("slide-deploy", list(words))
    rest = list(words)
    while isinstance(group, typer.core.TyperGroup):
        name, command, rest = group.resolve_command(above, rest)
        above, group = command.make_context(name, list(rest), parent=above), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_and_option_exists(page: Path) -> None:
    for words in typed(page):
        if words[:1] == ["slide-deploy"] and words[1:]:
            try:
                parse(words[1:])
            except SystemExit as stopped:
                pytest.fail(f"{shlex.join(words)}: {stopped}")
            except Exception as error:
                pytest.fail(f"{shlex.join(words)}: {error}")


def test_an_option_that_does_not_exist_is_found() -> None:
    parse(["export", "a.pth", "--to", "onnx"])
    parse(["web", "fetch"])
    for words in (["export", "a.pth", "--ot", "onnx"], ["exprot", "a.pth"], ["web", "get"]):
        with pytest.raises(Exception, match=r"No such (option|command)"):
            parse(words)


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {
        word
        for page in PAGES
        for words in typed(page)
        if words[:1] == ["make"]
        for word in words[1:]
        if "=" not in word
    }
    assert said >= {"demo", "test", "wheel", "docs"} and said <= targets


def test_every_extra_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [page.read_text() for page in PAGES]
    said = {
        extra
        for text in texts
        for extras in re.findall(r"(?:'\.|slide-deploy|\.whl\)?)\[([a-z0-9,]+)\]", text)
        for extra in extras.split(",")
    }
    assert "all" in said and said <= set(project["optional-dependencies"])
    # The package index does not have it yet.
    assert not any(re.search(r"pip install '?slide-deploy", text) for text in texts)


def test_forms_and_templates_parse() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml")}
    assert forms.pop("config")["blank_issues_enabled"] in (True, False)
    assert set(forms) == {"bug", "wrong-outputs", "new-host"}
    for form in forms.values():
        assert form["name"] and form["description"] and form["labels"]
        asked = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in asked}) == len(asked) >= 4
        for field in form["body"]:
            has = {"markdown": "value", "dropdown": "options", "checkboxes": "options"}
            assert field["type"] in {*has, "input", "textarea"}
            assert field["attributes"][has.get(field["type"], "label")]
    template = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert "make test" in template and "CHANGELOG.md" in template


def test_the_citation_is_of_this_version() -> None:
    from slide_deploy import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["authors"]
    assert citation["version"] == __version__ and citation["license"] == project["license"]
    assert citation["title"].startswith(project["name"])
    [paper] = citation["references"]
    assert paper["url"].rsplit("/", 1)[1] in (ROOT / "README.md").read_text()


def test_the_workflow_installs_the_wheel_of_the_tutorial() -> None:
    from slide_deploy import __version__

    workflow = (DOCS / "ci" / "github-actions.yml").read_text()
    tutorial = (DOCS / "tutorials" / "ci.md").read_text()
    assert "pip install tools/slide_deploy-*.whl" in workflow
    assert f"tools/slide_deploy-{__version__}-py3-none-any.whl" in tutorial
