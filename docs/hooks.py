"""Pages of the site that are written elsewhere: hooks that ``mkdocs.yml`` names.

README.md is the first page, other texts of the root are pages of their own, and the page of
commands ends with every option. So no text stands twice.
"""

import re
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from slide_deploy.cli import app

ROOT = Path(__file__).parents[1]
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "CHANGELOG.md": "changelog.md",
}
COMMANDS = "commands.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand in the root of the repository, where hosts of code look for them."""
    for name, page in FROM_ROOT.items():
        text = from_docs((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add every command with its options to the page of commands."""
    return markdown + options() if page.file.src_uri == COMMANDS else markdown


def from_docs(text: str) -> str:
    """The text of a page in the root with links as they are for a page in docs/."""
    for name, page in FROM_ROOT.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text.replace("](docs/", "](")


def options() -> str:
    """Markdown that lists the options of each command, from the command line itself."""
    group = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=typer.Context(group), name="slide-deploy", title="Every option", indent=1
    )
    # Types and placeholders stand in angle brackets, which Markdown takes for HTML outside of code.
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "\n" + "".join(
        piece if index % 2 else piece.replace("<", "&lt;") for index, piece in enumerate(pieces)
    )
