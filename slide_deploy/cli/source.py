"""Which network a command works on: a checkpoint, or one of the user's own. One set of options."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_numbers, parse_size
from slide_deploy.tasks.options import require

if TYPE_CHECKING:
    from slide_deploy.deployable.record import Deployable
    from slide_deploy.hosts import Overrides


class WeightSource(StrEnum):
    """Which weights of a training run to take."""

    auto = "auto"
    averaged = "averaged"
    raw = "raw"


@dataclass(frozen=True)
class Source:
    """What the options say of the network.

    Each field is an option of the same name, but ``folder``: where the code of ``model`` is found.
    """

    checkpoint: Path | None = None
    model: str | None = None
    model_args: str | None = None
    weights_file: Path | None = None
    input: tuple[str, ...] = ()
    weights: WeightSource = WeightSource.auto
    entry: str | None = None
    leave_out: tuple[str, ...] = ()
    image_size: str | None = None
    window_size: int | None = None
    keep_windows: bool = False
    resize_position_tables: bool = False
    heads: str | None = None
    stripes: str | None = None
    folder: Path = Path()

    @property
    def files(self) -> list[Path]:
        """Files that are read."""
        return [path for path in (self.checkpoint, self.weights_file) if path is not None]

    @property
    def is_given(self) -> bool:
        """Whether any option says anything of a network."""
        return replace(self, folder=Path()) != Source()

    @property
    def title(self) -> str:
        """What messages call the network."""
        return self.model or (_named(self.checkpoint).name if self.checkpoint else "nothing")

    @property
    def stem(self) -> str:
        """What files that are written from it are called, where that is known before it is read."""
        from slide_deploy.deployable.model_text import ModelText
        from slide_deploy.files.model_files import checkpoint_stem

        if self.model is not None:
            return ModelText.parse(self.model).stem
        return checkpoint_stem(self.checkpoint) if self.checkpoint is not None else ""

    def require(self, otherwise: str = "a checkpoint") -> None:
        """Refuse options that do not name one network.

        Args:
            otherwise: what a command takes in the place of ``--model``.

        Raises:
            InputError: if there is none, or two, or an option of the other kind.
        """
        if self.model is None:
            ours = {
                "--model-args": self.model_args is not None,
                "--weights-file": self.weights_file is not None,
                "--input": bool(self.input),
            }
            for option, given in ours.items():
                if given:
                    raise InputError(f"{option} is for a network of your own: give --model too.")
            if self.checkpoint is None:
                raise InputError(f"Give {otherwise}, or a network of your own with --model.")
            return
        if self.checkpoint is not None:
            raise InputError(
                f"{self.checkpoint} is a checkpoint and --model {self.model} a network: give "
                f"either; weights for the network are --weights-file."
            )
        theirs = {
            "--image-size": self.image_size is not None,
            "--window-size": self.window_size is not None,
            "--keep-windows": self.keep_windows,
            "--resize-position-tables": self.resize_position_tables,
            "--heads": self.heads is not None,
            "--stripes": self.stripes is not None,
        }
        for option, given in theirs.items():
            if given:
                raise InputError(
                    f"{option} is for checkpoints: what --model {self.model} builds is not changed."
                )
        how = self.entry or self.leave_out or self.weights is not WeightSource.auto
        if self.weights_file is None and how:
            raise InputError(
                "--weights, --entry and --leave-out say how --weights-file is read: give it."
            )
        if not self.input:
            raise InputError(
                f"--model {self.model} needs an example of its input: give --input 1x3x224x224."
            )

    def load(self, *, features: bool | None = False, dynamic_batch: bool = False) -> "Deployable":
        """Read the network.

        Args:
            features: take the feature maps of a checkpoint in place of its logits; None takes what
                the file has.
            dynamic_batch: leave the batch open.

        Raises:
            MissingExtra: without torch.
            InputError: if a file, the user's code or an option cannot be used.
        """
        require("torch", "all")
        if self.model is not None:
            from slide_deploy.deployable.factory import deployable_factory

            if features:
                raise InputError(
                    "--features is for checkpoints: let the forward of your network give them."
                )
            return deployable_factory(
                self.model,
                self.model_args,
                self.input,
                weights_file=self.weights_file,
                overrides=self.overrides(),
                dynamic_batch=dynamic_batch,
                folder=self.folder,
            )
        from slide_deploy.deployable.trained import deployable_checkpoint
        from slide_deploy.hosts import load_checkpoint

        assert self.checkpoint is not None
        loaded = load_checkpoint(_named(self.checkpoint), self.overrides())
        return deployable_checkpoint(loaded, features=features, dynamic_batch=dynamic_batch)

    def overrides(self) -> "Overrides":
        """What the options say of a checkpoint file."""
        from slide_deploy.hosts import Overrides

        size = self.image_size
        return Overrides(
            weights=self.weights.value,
            image_size=None if size is None else parse_size(size, "--image-size"),
            window_size=self.window_size,
            keep_windows=self.keep_windows,
            resize_position_tables=self.resize_position_tables,
            heads=parse_numbers(self.heads, "--heads"),
            stripes=parse_numbers(self.stripes, "--stripes"),
            entry=self.entry,
            leave_out=self.leave_out,
        )


_CHECKPOINT = Annotated[
    Path | None,
    typer.Argument(
        help="Trained checkpoint: a file, or the folder of a hub.",
        show_default=False,
        metavar="CHECKPOINT",
    ),
]
_AGAINST = Annotated[
    Path | None,
    typer.Option(
        "--against", help="Checkpoint that the files were exported from.", show_default=False
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (
        Annotated[
            str | None,
            typer.Option(
                help="A network of your own: what builds it, or the file that has it as "
                "net.py:build. It is imported and called.",
                metavar="MODULE:FACTORY",
            ),
        ],
        None,
    ),
    "model_args": (
        Annotated[
            str | None,
            typer.Option(
                help="Arguments of the factory: a JSON object by name, or a list.", metavar="JSON"
            ),
        ],
        None,
    ),
    "weights_file": (
        Annotated[Path | None, typer.Option(help="Checkpoint with the weights of --model.")],
        None,
    ),
    "input": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="An input of --model by its sizes; repeat for several. Open sizes by name: "
                "image=batchx3xheight:480xwidth:640; other types behind: 1x77:int64.",
                metavar="1x3x640x640",
            ),
        ],
        None,
    ),
    "weights": (
        Annotated[
            WeightSource,
            typer.Option(
                help="Averaged or raw weights; auto prefers averaged ones.", case_sensitive=False
            ),
        ],
        WeightSource.auto,
    ),
    "entry": (
        Annotated[
            str | None,
            typer.Option(
                help="Which network to take if the file holds several, for example model_ema.",
                metavar="PATH",
            ),
        ],
        None,
    ),
    "leave_out": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="Leave out tensors whose names begin with NAME: the outputs need none.",
                metavar="NAME",
            ),
        ],
        None,
    ),
    "image_size": (
        Annotated[
            str | None,
            typer.Option(
                help="Side of the image, or HEIGHTxWIDTH. If left out, that of training.",
                metavar="SIZE",
            ),
        ],
        None,
    ),
    "window_size": (
        Annotated[
            int | None,
            typer.Option(min=1, help="Largest attention window. If left out, that of training."),
        ],
        None,
    ),
    "keep_windows": (
        Annotated[
            bool,
            typer.Option("--keep-windows", help="Tile larger maps with the windows of training."),
        ],
        False,
    ),
    "resize_position_tables": (
        Annotated[
            bool,
            typer.Option(
                "--resize-position-tables",
                help="Interpolate position tables for another image or window size.",
            ),
        ],
        False,
    ),
    "heads": (
        Annotated[
            str | None,
            typer.Option(
                help="Attention heads of each stage, if the file does not tell.", metavar="1,2,5,8"
            ),
        ],
        None,
    ),
    "stripes": (
        Annotated[
            str | None,
            typer.Option(
                help="Stripe widths of each stage, if they differ from the published ones.",
                metavar="1,2,7,7",
            ),
        ],
        None,
    ),
}


def takes_source(command: Callable[..., None], against: bool = False) -> Callable[..., None]:
    """Give a command the options that name a network.

    Args:
        command: has a parameter ``source``, which it gets as a :class:`Source`. What names the
            checkpoint takes its place; the other options come after the command's own.
        against: whether the checkpoint is the option ``--against``, not the first argument.
    """
    name = "against" if against else "checkpoint"
    named = {name: (_AGAINST if against else _CHECKPOINT, None)}
    options = {
        each: inspect.Parameter(
            each, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for each, (annotation, default) in {**named, **_OPTIONS}.items()
    }
    parameters = [
        options[name]
        if each.name == "source"
        else each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(command).parameters.values()
    ]
    parameters += [each for each in options.values() if each.name != name]

    @wraps(command)
    def wired(**values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        given = {
            "checkpoint" if name == "against" else name: (
                tuple(value) if isinstance(value, list) else value
            )
            for name, value in given.items()
        }
        source = replace(Source(), **{name: value for name, value in given.items() if value})
        command(source=source, **values)

    wired.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wired.__annotations__ = {each.name: each.annotation for each in parameters}
    return wired


def against_source(command: Callable[..., None]) -> Callable[..., None]:
    """``takes_source`` with the checkpoint as ``--against``."""
    return takes_source(command, against=True)


def _named(path: Path) -> Path:
    """A path whose last part is a name, also where it was given as ``.`` or ``..``."""
    return path if path.name not in ("", "..") else path.resolve()
