"""The panels that group commands and options in ``--help``."""

from typing import Any

from typer.core import TyperCommand, TyperOption

MAKE, TRUST, MEASURE, LOOK = "Make a file", "Trust it", "Measure it", "Look at it"

# Panels in the order of --help, with their options.
_PANELS = {
    "Input": "--against --data --suite --attention --model --model-args --weights-file --input "
    "--weights --entry --leave-out --sample --seed --shard --merge --accuracy --shape --from",
    "How the network is read": "--image-size --window-size --keep-windows --resize-position-tables "
    "--heads --stripes",
    "Output": "--to --out --output --force --keep-failed --json --html --markdown --junit --sarif "
    "--bundle --web-bundle --work --show-policy",
    "How the file is written": "--preset --precision --delegate --dynamic-batch --lowering --tune "
    "--calibration --features --embed-preprocessing --mean --deviation --input-layout "
    "--channel-order --labels --softmax",
    "Proof": "--verify-on --unproven --policy --max-drop --locate --fail-above --across-machines",
    "Measuring": "--target --form --strips --exhaustive --seconds --rounds --batch --streams "
    "--threads --pin --option --profile --sustained --calibrate",
    "Other devices": "--web --host --adb --adb-serial --adb-binary",
    "Terminal": "--explain --top --quiet --help",
}
# Options that belong to another panel in these commands.
_ELSEWHERE = {
    ("verify", "--precision"): "Proof",
    ("verify", "--calibration"): "Proof",
    ("verify", "--target"): "Proof",
    ("bench", "--precision"): "Measuring",
    ("tune", "--precision"): "Measuring",
    ("predict", "--labels"): "Input",
    ("predict", "--output"): "Input",
    ("evaluate", "--labels"): "Input",
    ("evaluate", "--output"): "Input",
}
_ORDER = tuple(_PANELS)
_PANEL_OF = {option: panel for panel, options in _PANELS.items() for option in options.split()}


class PanelCommand(TyperCommand):
    """A command whose options ``--help`` shows in panels."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        options = [each for each in self.params if isinstance(each, TyperOption)]
        for option in options:
            option.rich_help_panel = panel_of(self.name or "", option.opts)
        # Typer shows panels in the order of their first options.
        options.sort(key=lambda each: _ORDER.index(each.rich_help_panel or ""))
        self.params = [each for each in self.params if not isinstance(each, TyperOption)]
        self.params += options

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option ``--help``, in the panel of terminal options."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = panel_of("", option.opts)
        return option


def panel_of(command: str, options: list[str]) -> str:
    """Return the panel of an option.

    Raises:
        KeyError: the option has no panel.
    """
    option = next((each for each in options if each in _PANEL_OF), options[0])
    return _ELSEWHERE.get((command, option)) or _PANEL_OF[option]
