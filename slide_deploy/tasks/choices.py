"""What an export writes: a preset, and what the user says otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

from slide_deploy.errors import InputError
from slide_deploy.formats import Format, format_named, refuse_delegate
from slide_deploy.images.description import LAYOUTS, ORDERS, Preprocessing
from slide_deploy.precisions import FLOAT32
from slide_deploy.presets import preset_named
from slide_deploy.tasks.options import AUTO, parse_formats


@dataclass(frozen=True)
class Wishes:
    """What a user says; None, or nothing, where they leave a choice to the preset.

    Attributes:
        preset: name of a preset.
        to: formats, as they are written.
        precision: name of a precision.
        delegate: library that runs parts of the files, for formats that have a choice of them.
        lowering: form of the slide attentions, or "auto".
        tune: whether the forms are raced first.
        dynamic_batch: whether the batch is left open.
        embed_preprocessing: whether files take pixels.
        mean: of each channel.
        deviation: the same.
        input_layout: of the pixels.
        channel_order: the same.
    """

    preset: str | None = None
    to: Sequence[str] = ()
    precision: str | None = None
    delegate: str | None = None
    lowering: str | None = None
    tune: bool = False
    dynamic_batch: bool | None = None
    embed_preprocessing: bool | None = None
    mean: Sequence[float] | None = None
    deviation: Sequence[float] | None = None
    input_layout: str | None = None
    channel_order: str | None = None


@dataclass(frozen=True)
class Choices:
    """What is written.

    Attributes:
        formats: names of formats, each once.
        precision: name of a precision.
        lowering: form of the slide attentions, or "auto".
        dynamic_batch: whether the batch is left open.
        preprocessing: how pixels become what the network takes.
    """

    formats: tuple[str, ...]
    precision: str
    lowering: str
    dynamic_batch: bool
    preprocessing: Preprocessing


def chosen(wishes: Wishes) -> Choices:
    """What a preset says, where the user says nothing else; without a preset, the defaults.

    Raises:
        InputError: if no format is named, or an option cannot be used.
    """
    preset = None if wishes.preset is None else preset_named(wishes.preset)
    formats = parse_formats(wishes.to)
    if not formats and preset is None:
        raise InputError(
            "--to names no format: name one, or all that are installed as all, or a --preset that "
            "does."
        )
    embedded, layout = wishes.embed_preprocessing, wishes.input_layout
    if embedded is None:
        embedded = preset is not None and preset.embed_preprocessing
    if layout is None:
        layout = preset.input_layout if preset is not None and embedded else LAYOUTS[0]
    precision, batch = wishes.precision, wishes.dynamic_batch
    lowering = _lowering(wishes)
    if preset is not None:
        formats = formats or preset.formats
        precision = preset.precision if precision is None else precision
        batch = preset.dynamic_batch if batch is None else batch
        lowering = preset.lowering if lowering is None else lowering
    records = [format_named(format) for format in formats]
    refuse_delegate(records, wishes.delegate)
    return Choices(
        formats=formats,
        precision=_default_precision(records, wishes.delegate) if precision is None else precision,
        lowering=AUTO if lowering is None else lowering,
        dynamic_batch=bool(batch),
        preprocessing=Preprocessing(
            mean=_numbers(wishes.mean),
            deviation=_numbers(wishes.deviation),
            embedded=embedded,
            layout=layout.lower(),
            order=(wishes.channel_order or ORDERS[0]).lower(),
        ),
    )


def _lowering(wishes: Wishes) -> str | None:
    """The form that the user asks for; a race finds the fastest. None if they say nothing."""
    if not wishes.tune:
        return wishes.lowering
    if wishes.lowering is not None and wishes.lowering.lower() != AUTO:
        raise InputError(
            f"--tune finds the fastest form and --lowering {wishes.lowering} names one: give "
            "either."
        )
    return AUTO


def _default_precision(formats: Sequence[Format], delegate: str | None) -> str:
    """That of the delegate, if no other format is written beside; else float32."""
    if len(formats) == 1:
        chosen_one = formats[0].delegate(delegate)
        return FLOAT32.name if chosen_one is None else chosen_one.precisions[0]
    return FLOAT32.name


def _numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))
