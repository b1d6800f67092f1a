"""The policy: what a graph must keep, read from TOML.

``standard-ops.toml`` and ``portable.toml`` in this folder are built in and complete: what a file
that slide-deploy writes must keep, and what any file should. A policy of a user is laid over one of
them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_text
from slide_deploy.files.validation import validated
from slide_deploy.formats import format_names
from slide_deploy.graph_checks.declarations import says_something

STANDARD_OPS, PORTABLE = BUILT_IN = ("standard-ops", "portable")
# A policy is written by hand.
_MAX_BYTES = 1 << 20
ANY_SIZE = "*"
# Those that ``traps`` knows bugs of.
RUNTIME_BUG_TARGETS = ("openvino:cpu", "web:webgpu")
# Where the rank is that of the exported program, files that declare less may have this one: Core
# ML computes no further.
COMMON_RANK = 5
Interval = tuple[int, int]


@dataclass(frozen=True)
class Interface:
    """An input or output that the graph must have.

    Attributes:
        name: as callers ask for it.
        types: element types that are allowed.
        shape: numbers, ``ANY_SIZE``, or the name of a size that may be open.
    """

    name: str
    types: frozenset[str]
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class FormatPolicy:
    """What is allowed in one format.

    Attributes:
        ir_version: of the file format itself.
        opset: of the standard operators.
        operators: allowed operators by domain; a domain without an entry is refused.
    """

    ir_version: Interval
    opset: Interval
    operators: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Policy:
    """The keys of ``standard-ops.toml``, which explains them.

    ``inputs`` and ``outputs`` are None where any are allowed; ``unnamed_dynamic`` holds the formats
    in which an open size needs no name; ``require_declared`` is whether a file must say what mixes
    its channels, and ``allow_declared_rank`` whether a file may have the rank that it declares of
    its program, where that is above ``max_rank``.

    ``runtime_bugs_on`` holds the targets whose bugs count, of ``RUNTIME_BUG_TARGETS``.

    ``formats`` lacks those of which the policy has no section. Rules that need one do not judge
    files of these formats.
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
    """One of the policies that are built in, ``BUILT_IN``."""
    return _policy(tomllib.loads(built_in_text(name)))


def built_in_text(name: str) -> str:
    """A built-in policy as it is written."""
    return files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def standard_ops() -> Policy:
    """The built-in policy of files that slide-deploy writes."""
    return built_in_policy(STANDARD_OPS)


def policy_for(metadata: Mapping[str, str]) -> Policy:
    """The built-in policy for a file that nobody named one for, by what the file says of itself."""
    return built_in_policy(STANDARD_OPS if says_something(metadata) else PORTABLE)


def named_policy(name: str) -> Policy:
    """A built-in policy by its name, or one in a file.

    Raises:
        InputError: as ``load_policy``.
    """
    return built_in_policy(name) if name in BUILT_IN else load_policy(Path(name))


def load_policy(path: Path) -> Policy:
    """Read a policy file and lay it over the built-in one that it names as ``base``.

    Raises:
        InputError: the file cannot be read, is no TOML, or a key is unknown or has a wrong value.
    """
    try:
        own = tomllib.loads(read_text(path, most=_MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check --policy.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not TOML ({error}): see slide-deploy check --show-policy."
        ) from error
    base = own.pop("base", STANDARD_OPS)
    if base not in BUILT_IN:
        raise InputError(f"{path}: base must be one of {', '.join(BUILT_IN)}, and is {base!r}.")
    whole = _laid_over(tomllib.loads(built_in_text(base)), {"name": path.stem, **own})
    try:
        check_content(whole)
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error
    return _policy(whole)


def check_content(content: Mapping[str, Any]) -> None:
    """Hold a whole policy against its model. Those that are built in need it in tests only.

    Raises:
        ValueError: if a key is missing, unknown or wrong; a clause that names it.
    """
    from slide_deploy.graph_checks.policy_file import FormatSection, PolicyFile

    formats = {name: content[name] for name in format_names() if name in content}
    validated(PolicyFile, {key: held for key, held in content.items() if key not in formats})
    for name, section in formats.items():
        validated(FormatSection, section, name)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key, everything else as a whole."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged


def _policy(content: Mapping[str, Any]) -> Policy:
    """The policy that a content stands for, which ``check_content`` does not refuse."""
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
