"""The policy: the limits and requirements of the rules, read from TOML.

Two complete policies are built in: ``standard-ops.toml`` for files that slide-deploy writes, and
``portable.toml`` for any file. A user's policy overrides keys of one of them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_toml, read_text
from slide_deploy.files.validation import validated
from slide_deploy.formats import format_names
from slide_deploy.graph_checks.declarations import has_declarations

STANDARD_OPS, PORTABLE = BUILT_IN = ("standard-ops", "portable")
# Policies are written by hand, so a larger file is none.
_MAX_BYTES = 1 << 20
ANY_SIZE = "*"
# The highest rank that Core ML supports. With rank = "declared", files that declare a lower rank
# may still have this one.
COMMON_RANK = 5

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Texts = frozenset[str]
# Targets with known bugs, see ``rules.runtime_bugs``.
RuntimeBugTarget = Literal["openvino:cpu", "web:webgpu"]


@dataclass(frozen=True)
class LimitPolicy:
    """Limits of tensors and files; ``rank`` is a number or "declared"."""

    rank: Count | Literal["declared"]
    slide_attention_rank: Count
    unknown_rank: bool
    file_bytes: Count
    parameters: Count


@dataclass(frozen=True)
class TypePolicy:
    """Element types that values and constants may have."""

    values: Texts
    constants: Texts


@dataclass(frozen=True)
class DimensionPolicy:
    """Names that open sizes may have, and formats in which they need none."""

    dynamic: Texts
    unnamed: frozenset[Literal[format_names()]]  # type: ignore[valid-type]


@dataclass(frozen=True)
class ConstantPolicy:
    """What is allowed among constants."""

    unused: bool
    duplicates: bool
    duplicate_bytes: Count
    non_finite: bool


@dataclass(frozen=True)
class StructurePolicy:
    """Requirements of the graph as a whole."""

    census: Literal["declared", "if-declared"]
    control_flow: bool
    unfold: bool
    runtime_bugs: bool
    runtime_bugs_on: frozenset[RuntimeBugTarget]
    norm_epsilons: tuple[Annotated[float, Field(gt=0, lt=1)], ...]


@dataclass(frozen=True)
class Interface:
    """An input or output that the graph must have.

    Attributes:
        name: the name that callers use.
        types: element types that are allowed.
        shape: numbers, ``ANY_SIZE``, or the name of a size that may be open.
    """

    name: Text
    types: Texts
    shape: tuple[Annotated[int, Field(gt=0)] | str, ...]


@dataclass(frozen=True)
class FormatPolicy:
    """Allowed versions and operators of one format.

    Attributes:
        ir_version: lowest and highest version of the file format.
        opset: lowest and highest version of the standard operators.
        operators: allowed operators by domain; a domain without an entry is not allowed.
    """

    ir_version: tuple[int, int]
    opset: tuple[int, int]
    operators: Mapping[str, Texts]

    def __post_init__(self) -> None:
        for key in ("ir_version", "opset"):
            lowest, highest = getattr(self, key)
            if lowest > highest:
                raise ValueError(f"{key} must be [lowest, highest]")


@dataclass(frozen=True)
class _Sections:
    """The content of a policy file, without the sections for formats."""

    name: Text
    limits: LimitPolicy
    types: TypePolicy
    dimensions: DimensionPolicy
    constants: ConstantPolicy
    structure: StructurePolicy
    inputs: tuple[Interface, ...] | None = None
    outputs: tuple[Interface, ...] | None = None

    def __post_init__(self) -> None:
        # "batch" may name the first size even in a policy that allows no open size.
        known = {ANY_SIZE, "batch", *self.dimensions.dynamic}
        for side, interfaces in (("inputs", self.inputs), ("outputs", self.outputs)):
            for index, interface in enumerate(interfaces or ()):
                for size in interface.shape:
                    if isinstance(size, str) and size not in known:
                        raise ValueError(
                            f"{side}[{index}].shape may hold numbers and "
                            f"{', '.join(sorted(known))}, and holds {size}"
                        )


@dataclass(frozen=True, kw_only=True)
class Policy(_Sections):
    """A policy. ``standard-ops.toml`` explains the keys.

    Attributes:
        inputs: required inputs; None if any are allowed.
        outputs: required outputs; None if any are allowed.
        formats: sections of the policy by format. Rules that need a section skip files of the other
            formats.
    """

    formats: Mapping[str, FormatPolicy]


def built_in_policy(name: str) -> Policy:
    """The built-in policy of a name in ``BUILT_IN``."""
    return _policy(tomllib.loads(built_in_text(name)))


def built_in_text(name: str) -> str:
    """The TOML text of a built-in policy."""
    return files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def standard_ops() -> Policy:
    """The built-in policy for files that slide-deploy writes."""
    return built_in_policy(STANDARD_OPS)


def policy_for(metadata: Mapping[str, str]) -> Policy:
    """The built-in policy for a file with this metadata, if the user names none."""
    return built_in_policy(STANDARD_OPS if has_declarations(metadata) else PORTABLE)


def named_policy(name: str) -> Policy:
    """A built-in policy by its name, or a policy file by its path.

    Raises:
        InputError: as for ``load_policy``.
    """
    return built_in_policy(name) if name in BUILT_IN else load_policy(Path(name))


def load_policy(path: Path) -> Policy:
    """Read a policy file, whose keys override those of the built-in policy named by ``base``.

    Raises:
        InputError: the file cannot be read or is not TOML, or a key is unknown or has a wrong
            value.
    """
    try:
        own = parse_toml(read_text(path, most=_MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check --policy.") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not TOML ({error}): see slide-deploy check --show-policy."
        ) from error
    base = own.pop("base", STANDARD_OPS)
    if base not in BUILT_IN:
        raise InputError(f"{path}: base must be one of {', '.join(BUILT_IN)}, and is {base!r}.")
    whole = _merged(tomllib.loads(built_in_text(base)), {"name": path.stem, **own})
    try:
        return _policy(whole)
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error


def _policy(content: Mapping[str, Any]) -> Policy:
    """Read a whole policy.

    Raises:
        ValueError: a key is missing, unknown or wrong. The message is a clause that names the key.
    """
    names = [name for name in format_names() if name in content]
    sections = validated(_Sections, {key: content[key] for key in content if key not in names})
    formats = {name: validated(FormatPolicy, content[name], name) for name in names}
    return Policy(**vars(sections), formats=formats)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the user's keys in it: tables are merged key by key, other values replaced."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
