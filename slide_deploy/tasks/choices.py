"""The options of an export: those that the user gave, those of a preset, and the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.formats import Format, format_named, refuse_delegate
from slide_deploy.images.description import LAYOUTS, ORDERS, Preprocessing
from slide_deploy.precisions import FLOAT32
from slide_deploy.presets import preset_named
from slide_deploy.tasks.options import AUTO, parse_formats


@dataclass(frozen=True)
class GivenOptions:
    """The options that a user gave; None or empty where the preset or the default decides.

    Attributes:
        preset: name of a preset.
        to: names of formats, as the user wrote them.
        precision: name of a precision.
        delegate: library that runs parts of the files, for formats with a choice of delegates.
        lowering: form of the slide attentions, or "auto".
        tune: whether the forms are raced first.
        dynamic_batch: whether the batch size stays open.
        embed_preprocessing: whether files take pixels and normalise them.
        mean: mean of each channel.
        deviation: standard deviation of each channel.
        input_layout: layout of the pixels, "nchw" or "nhwc".
        channel_order: channel order of the pixels, "rgb" or "bgr".
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
    """The resolved options of an export.

    Attributes:
        formats: names of formats, each once.
        precision: name of a precision.
        lowering: form of the slide attentions, or "auto".
        dynamic_batch: whether the batch size stays open.
        preprocessing: how pixels become the input of the network.
    """

    formats: tuple[str, ...]
    precision: str
    lowering: str
    dynamic_batch: bool
    preprocessing: Preprocessing


def chosen(given: GivenOptions) -> Choices:
    """Resolve options: the user's option first, then the preset's, then the default.

    Raises:
        InputError: if neither the user nor a preset names a format, or an option is invalid.
    """
    preset = None if given.preset is None else preset_named(given.preset)
    formats = parse_formats(given.to) or (() if preset is None else preset.formats)
    if not formats:
        raise InputError(
            "--to names no format: name one, give all for all that are installed, or give a "
            "--preset."
        )
    records = [format_named(format) for format in formats]
    refuse_delegate(records, given.delegate)

    def of(name: str, value: Any, default: Any) -> Any:
        """Return the user's value, else that of the preset's field, else the default."""
        if value is None and preset is not None:
            return getattr(preset, name)
        return default if value is None else value

    embedded = of("embed_preprocessing", given.embed_preprocessing, False)
    # The preset's layout applies to pixels only.
    usual = preset.input_layout if preset is not None and embedded else LAYOUTS[0]
    return Choices(
        formats=formats,
        precision=of("precision", given.precision, _default_precision(records, given.delegate)),
        lowering=of("lowering", _lowering(given), AUTO),
        dynamic_batch=of("dynamic_batch", given.dynamic_batch, False),
        preprocessing=Preprocessing(
            mean=_numbers(given.mean),
            deviation=_numbers(given.deviation),
            embedded=embedded,
            layout=(given.input_layout or usual).lower(),
            order=(given.channel_order or ORDERS[0]).lower(),
        ),
    )


def _lowering(given: GivenOptions) -> str | None:
    """Return the requested form; "auto" with ``tune``, and None if the user gave none."""
    if not given.tune:
        return given.lowering
    if given.lowering is not None and given.lowering.lower() != AUTO:
        raise InputError(
            f"--tune finds the fastest form and --lowering {given.lowering} names one: give one of "
            "the two."
        )
    return AUTO


def _default_precision(formats: Sequence[Format], delegate: str | None) -> str:
    """Return the delegate's first precision if its format is the only one; else float32."""
    if len(formats) == 1:
        record = formats[0].delegate(delegate)
        return FLOAT32.name if record is None else record.precisions[0]
    return FLOAT32.name


def _numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))
