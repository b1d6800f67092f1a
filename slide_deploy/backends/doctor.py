"""What this machine can do, and what would help where it cannot."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from slide_deploy import PACKAGES, __version__
from slide_deploy.backends.base import Target
from slide_deploy.backends.registry import TARGETS, target_named
from slide_deploy.formats import known_formats
from slide_deploy.machine import describe, fingerprint, usable_threads

# Parts of the report, in this order; others follow as they come.
INSTALLATION, MACHINE, MEASURED_ON = "installation", "machine", "targets of bench"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Args:
        subject: what was looked at.
        ok: whether it is usable; None for a plain fact, which is neither.
        detail: its version, or the reason why not with the command that would help; or the fact.
        part: of the report that it belongs to.
    """

    subject: str
    ok: bool | None
    detail: str
    part: str = INSTALLATION


def examine() -> tuple[Finding, ...]:
    """Look at this installation, this machine and the targets.

    Who knows more, the tuning tables for example, appends findings of a part of his own.
    """
    return (
        Finding("slide-deploy", True, f"{__version__}, Python {platform.python_version()}"),
        *_packages(),
        _library("torch", "to load checkpoints and to export"),
        *_runtimes(),
        *_machine(),
        *_targets(),
    )


def _machine() -> list[Finding]:
    """Facts about the machine, one a line, and what a benchmark makes of them."""
    facts = describe()
    facts["usable threads"] = str(usable_threads())
    facts["fingerprint"] = fingerprint(facts)
    return [Finding(name, None, fact, MACHINE) for name, fact in facts.items()]


def _packages() -> list[Finding]:
    """Whether another distribution owns one of our names, which Python would import instead."""
    home = Path(__file__).resolve().parents[2]
    findings = []
    for name in PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home:
            findings.append(
                Finding(
                    f"package {name}",
                    False,
                    f"another one is imported from {origin}: use an environment of its own",
                )
            )
    return findings


def _library(name: str, purpose: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"{purpose}: pip install {name}")


def _runtimes() -> list[Finding]:
    """What proves the files of each format."""
    named = [target_named(name) for format in known_formats() for name in format.targets]
    return [_finding(target.name.rpartition(":")[0], target, INSTALLATION) for target in named]


def _targets() -> list[Finding]:
    """What bench could measure on here."""
    return [_finding(each.name, each, MEASURED_ON) for each in TARGETS if each.is_timed]


def _finding(subject: str, target: Target, part: str) -> Finding:
    found = target.find()
    return Finding(subject, found.present, found.detail, part)
