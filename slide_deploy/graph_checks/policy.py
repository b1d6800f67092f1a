"""The policy: the limits and requirements of the rules, read from TOML.

Two complete policies are built in: ``standard-ops.toml`` for files that slide-deploy writes, and
``portable.toml`` for any file. A user's policy overrides keys of one of them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_toml, read_text
from slide_deploy.files.validation import validated
from slide_deploy.formats import format_names
from slide_deploy.graph_checks.declarations import has_declarations

STANDARD_OPS, PORTABLE = BUILT_IN = ("standard-ops", "portable")
# Policies are written by hand, so a larger file is none.
_MAX_BYTES = 1 << 20
ANY_SIZE = "*"
# Targets with known bugs, see ``rules.runtime_bugs``.
RUNTIME_BUG_TARGETS = ("openvino:cpu", "web:webgpu")
# The highest rank that Core ML supports. With rank = "declared", files that declare a lower rank
# may still have this one.
COMMON_RANK = 5
Interval = tuple[int, int]


@dataclass(frozen=True)
class Interface:
    """An input or output that the graph must have.

    Attributes:
        name: the name that callers use.
        types: element types that are allowed.
        shape: numbers, ``ANY_SIZE``, or the name of a size that may be open.
    """

    name: str
    types: frozenset[str]
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class FormatPolicy:
    """Allowed versions and operators of one format.

    Attributes:
        ir_version: lowest and highest version of the file format.
        opset: lowest and highest version of the standard operators.
        operators: allowed operators by domain; a domain without an entry is not allowed.
    """

    ir_version: Interval
    opset: Interval
    operators: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Policy:
    """A policy. ``standard-ops.toml`` explains the keys; the following differ from them.

    Attributes:
        allow_declared_rank: whether a file may have the rank that it declares for its program, if
            that is above ``max_rank``.
        unnamed_dynamic: formats in which an open size needs no name.
        inputs: required inputs; None if any are allowed.
        outputs: required outputs; None if any are allowed.
        require_declared: whether a file must have a census.
        runtime_bugs_on: the targets whose bugs count, from ``RUNTIME_BUG_TARGETS``.
        formats: sections of the policy by format. Rules that need a section skip files of the other
            formats.
    """

    name: str
    max_rank: int
    allow_declared_rank: bool
    max_slide_attention_rank: int
    allow_unknown_rank: bool
    max_file_bytes: int
    max_parameters: int
    value_types: frozenset[str]
    constant_types: frozenset[str]
    dynamic_names: frozenset[str]
    unnamed_dynamic: frozenset[str]
    inputs: tuple[Interface, ...] | None
    outputs: tuple[Interface, ...] | None
    allow_unused: bool
    allow_duplicates: bool
    duplicate_bytes: int
    allow_non_finite: bool
    require_declared: bool
    allow_control_flow: bool
    allow_unfold: bool
    runtime_bugs: bool
    runtime_bugs_on: frozenset[str]
    norm_epsilons: tuple[float, ...]
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
        check_content(whole)
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error
    return _policy(whole)


def check_content(content: Mapping[str, Any]) -> None:
    """Validate a whole policy. The built-in ones are validated by tests alone.

    Raises:
        ValueError: a key is missing, unknown or wrong. The message is a clause that names the key.
    """
    from slide_deploy.graph_checks.policy_file import FormatSection, PolicyFile

    formats = {name: content[name] for name in format_names() if name in content}
    validated(PolicyFile, {key: held for key, held in content.items() if key not in formats})
    for name, section in formats.items():
        validated(FormatSection, section, name)


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


def _policy(content: Mapping[str, Any]) -> Policy:
    """A policy from TOML content that ``check_content`` accepts."""
    limits, types, dimensions, constants, structure = (
        content[key] for key in ("limits", "types", "dimensions", "constants", "structure")
    )
    is_declared = limits["rank"] == "declared"
    return Policy(
        name=content["name"],
        max_rank=COMMON_RANK if is_declared else limits["rank"],
        allow_declared_rank=is_declared,
        max_slide_attention_rank=limits["slide_attention_rank"],
        allow_unknown_rank=limits["unknown_rank"],
        max_file_bytes=limits["file_bytes"],
        max_parameters=limits["parameters"],
        value_types=frozenset(types["values"]),
        constant_types=frozenset(types["constants"]),
        dynamic_names=frozenset(dimensions["dynamic"]),
        unnamed_dynamic=frozenset(dimensions["unnamed"]),
        inputs=_interfaces(content.get("inputs")),
        outputs=_interfaces(content.get("outputs")),
        allow_unused=constants["unused"],
        allow_duplicates=constants["duplicates"],
        duplicate_bytes=constants["duplicate_bytes"],
        allow_non_finite=constants["non_finite"],
        require_declared=structure["census"] == "declared",
        allow_control_flow=structure["control_flow"],
        allow_unfold=structure["unfold"],
        runtime_bugs=structure["runtime_bugs"],
        runtime_bugs_on=frozenset(structure["runtime_bugs_on"]),
        norm_epsilons=tuple(structure["norm_epsilons"]),
        formats={name: _format(content[name]) for name in format_names() if name in content},
    )


def _format(section: Mapping[str, Any]) -> FormatPolicy:
    ir_version, opset = (tuple(section[key]) for key in ("ir_version", "opset"))
    operators = {domain: frozenset(names) for domain, names in section["operators"].items()}
    return FormatPolicy(ir_version, opset, operators)


def _interfaces(tables: list[dict[str, Any]] | None) -> tuple[Interface, ...] | None:
    if tables is None:
        return None
    return tuple(
        Interface(each["name"], frozenset(each["types"]), tuple(each["shape"])) for each in tables
    )
