"""``--help`` in panels: every command and every option has a panel."""

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner

from slide_deploy.cli import app
from slide_deploy.cli.panels import LOOK, MAKE, MEASURE, TRUST


def commands() -> dict[str, TyperCommand]:
    top = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {**{name: each for name, each in top.items() if name != "web"}, **top["web"].commands}


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], terminal_width=100)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    return result.stdout


def test_commands_are_grouped_by_purpose() -> None:
    said = shown()
    places = [said.index(f"─ {panel} ─") for panel in (MAKE, TRUST, MEASURE, LOOK)]
    assert places == sorted(places)
    assert "─ Commands ─" not in said
    assert places[0] < said.index("│ export ") < places[1] < said.index("│ check ") < places[2]


@pytest.mark.parametrize("name", commands())
def test_every_option_is_in_a_panel(name: str) -> None:
    said = shown(*(("web", name) if name == "fetch" else (name,)))
    assert "─ Options ─" not in said
    assert "─ Terminal ─" in said
    assert "Example: slide-deploy" in said


def test_the_panels_of_export_are_in_the_order_of_its_work() -> None:
    said = shown("export")
    panels = ("Input", "How the network is read", "Output", "How the file is written", "Proof")
    places = [said.index(f"─ {panel} ─") for panel in (*panels, "Terminal")]
    assert places == sorted(places)
    assert places[2] < said.index("--out ") < places[3] < said.index("--precision ") < places[4]


def test_an_option_with_another_meaning_is_in_another_panel() -> None:
    def panel(command: str, option: str) -> object:
        (found,) = (each for each in commands()[command].params if option in each.opts)
        return vars(found)["rich_help_panel"]

    assert panel("verify", "--precision") == "Proof"
    assert panel("bench", "--precision") == "Measuring"
    assert panel("fold", "-o") == "Output"
    assert panel("predict", "--output") == "Input"
