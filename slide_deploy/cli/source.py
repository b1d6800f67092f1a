"""The network that a command works on: a checkpoint, or a network of the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.errors import InputError
from slide_deploy.files.model_files import checkpoint_stem, is_source, refuse_final
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


_OF_CHECKPOINTS = (
    *("image_size", "window_size", "keep_windows", "resize_position_tables", "heads", "stripes"),
)


@dataclass(frozen=True)
class Source:
    """The values of the options that name a network.

    Each field is the option of the same name, except ``checkpoint``, which is an argument or
    another option, and ``folder``, which contains the code of ``model``.
    """

    checkpoint: Path | None = None
    model: Annotated[
        str | None,
        typer.Option(
            help="A network of your own: what builds it, or the file that has it as "
            "net.py:build. It is imported and called.",
            metavar="MODULE:FACTORY",
        ),
    ] = None
    model_args: Annotated[
        str | None,
        typer.Option(
            help="Arguments of the factory: a JSON object by name, or a list.", metavar="JSON"
        ),
    ] = None
    weights_file: Annotated[
        Path | None, typer.Option(help="Checkpoint with the weights of --model.")
    ] = None
    input: Annotated[
        list[str] | None,
        typer.Option(
            help="An input of --model, or of an .onnx file that leaves sizes open, by its sizes; "
            "repeat for several. Open sizes by name: "
            "image=batchx3xheight:480xwidth:640; other types behind: 1x77:int64.",
            metavar="1x3x640x640",
        ),
    ] = None
    weights: Annotated[
        WeightSource,
        typer.Option(
            help="Averaged or raw weights; auto prefers averaged ones.", case_sensitive=False
        ),
    ] = WeightSource.auto
    entry: Annotated[
        str | None,
        typer.Option(
            help="Which network to take if the file holds several, for example model_ema.",
            metavar="PATH",
        ),
    ] = None
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out tensors whose names begin with NAME: the outputs need none.",
            metavar="NAME",
        ),
    ] = None
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Side of the image, or HEIGHTxWIDTH. If left out, that of training.",
            metavar="SIZE",
        ),
    ] = None
    window_size: Annotated[
        int | None,
        typer.Option(min=1, help="Largest attention window. If left out, that of training."),
    ] = None
    keep_windows: Annotated[
        bool,
        typer.Option(
            "--keep-windows", help="Tile larger feature maps with the windows of training."
        ),
    ] = False
    resize_position_tables: Annotated[
        bool,
        typer.Option(
            "--resize-position-tables",
            help="Interpolate position tables for another image or window size.",
        ),
    ] = False
    heads: Annotated[
        str | None,
        typer.Option(
            help="Attention heads of each stage, if the file does not determine them.",
            metavar="1,2,5,8",
        ),
    ] = None
    stripes: Annotated[
        str | None,
        typer.Option(
            help="Stripe widths of each stage, if they differ from the published ones.",
            metavar="1,2,7,7",
        ),
    ] = None
    folder: Path = Path()

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.checkpoint, self.weights_file) if path is not None]

    @property
    def is_given(self) -> bool:
        """Whether any of the options was given."""
        return replace(self, folder=Path()) != Source()

    @property
    def is_onnx(self) -> bool:
        """Whether the network is an ``.onnx`` file."""
        return self.checkpoint is not None and is_source(self.checkpoint)

    @property
    def title(self) -> str:
        """The name of the network in messages."""
        return self.model or (_named(self.checkpoint).name if self.checkpoint else "nothing")

    @property
    def stem(self) -> str:
        """The name of exported files without suffix; empty if it is unknown before loading."""
        from slide_deploy.deployable.model_text import ModelText

        if self.model is not None:
            return ModelText.parse(self.model).stem
        return checkpoint_stem(self.checkpoint) if self.checkpoint is not None else ""

    def require(self, otherwise: str = "a checkpoint") -> None:
        """Refuse options that do not name exactly one network.

        Args:
            otherwise: what the user can give instead of ``--model``, for the message.

        Raises:
            InputError: no network or two are named, or an option does not apply to this kind.
        """
        if self.model is None:
            for name in ("model_args", "weights_file", *(() if self.is_onnx else ("input",))):
                if getattr(self, name):
                    option = _option(name)
                    raise InputError(
                        f"{option} applies to a network of your own: give --model too."
                    )
            if self.checkpoint is None:
                raise InputError(
                    f"No network: give {otherwise}, or a network of your own with --model."
                )
            refuse_final(self.checkpoint)
            if self.is_onnx:
                names = (*_OF_CHECKPOINTS, "weights", "entry", "leave_out")
                self._refuse(names, f"for {self.checkpoint}, which is an .onnx file")
            return
        if self.checkpoint is not None:
            raise InputError(
                f"{self.checkpoint} is one network and --model {self.model} another: give one; "
                f"--weights-file gives the weights of the network."
            )
        self._refuse(_OF_CHECKPOINTS, f"with --model {self.model}")
        how = self.entry or self.leave_out or self.weights is not WeightSource.auto
        if self.weights_file is None and how:
            raise InputError(
                "--weights, --entry and --leave-out apply to --weights-file: give it too."
            )
        if not self.input:
            raise InputError(
                f"--model {self.model} needs an example of its input: give --input 1x3x224x224."
            )

    def _refuse(self, names: Sequence[str], where: str) -> None:
        """Refuse options that only apply to checkpoints; ``where`` ends the message."""
        for name in names:
            if getattr(self, name) != getattr(Source(), name):
                raise InputError(
                    f"{_option(name)} applies to checkpoints only: leave it out {where}."
                )

    def load(self, *, features: bool | None = False, dynamic_batch: bool = False) -> "Deployable":
        """Load the network.

        Args:
            features: whether a checkpoint outputs feature maps instead of logits; None keeps what
                the file has.
            dynamic_batch: leave the batch size open.

        Raises:
            MissingExtra: torch is not installed.
            InputError: a file, the user's code or an option cannot be used.
        """
        require("torch", "all")
        if self.model is not None:
            from slide_deploy.deployable.factory import deployable_factory

            if features:
                raise InputError(
                    "--features applies to checkpoints only: return them from your own forward."
                )
            return deployable_factory(
                self.model,
                self.model_args,
                self.input or (),
                weights_file=self.weights_file,
                overrides=self.overrides(),
                dynamic_batch=dynamic_batch,
                folder=self.folder,
            )
        assert self.checkpoint is not None
        if self.is_onnx:
            from slide_deploy.onnx_network.deployable import deployable_onnx

            for option, given in (("--features", features), ("--dynamic-batch", dynamic_batch)):
                if given:
                    raise InputError(
                        f"{option} applies to checkpoints only: {self.checkpoint} is an .onnx file "
                        f"and keeps its outputs and its batch."
                    )
            return deployable_onnx(self.checkpoint, self.input or ())
        from slide_deploy.deployable.trained import deployable_checkpoint
        from slide_deploy.hosts import load_checkpoint

        loaded = load_checkpoint(_named(self.checkpoint), self.overrides())
        return deployable_checkpoint(loaded, features=features, dynamic_batch=dynamic_batch)

    def overrides(self) -> "Overrides":
        """Return the settings for reading a checkpoint."""
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
            leave_out=tuple(self.leave_out or ()),
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _named(path: Path) -> Path:
    """Return a path whose last part is a name, also for ``.`` and ``..``."""
    return path if path.name not in ("", "..") else path.resolve()
