"""What this machine can do, and which command helps if it cannot."""

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

# The first parts of the report, in this order. Other parts follow in order of appearance.
INSTALLATION, MACHINE, MEASURED_ON = "installation", "machine", "targets of bench"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Args:
        subject: what was examined.
        ok: whether it is usable; None for a plain fact.
        detail: its version, the reason why it is not usable with the command that helps, or the
            fact.
        part: heading of the report that it is under.
    """

    subject: str
    ok: bool | None
    detail: str
    part: str = INSTALLATION


def examine() -> tuple[Finding, ...]:
    """Examine this installation, this machine and the targets.

    Callers append findings of other parts, for example about the tuning tables.
    """
    return (
        Finding("slide-deploy", True, f"{__version__}, Python {platform.python_version()}"),
        *_packages(),
        _library("torch", "to load checkpoints and to export"),
        *_runtimes(),
        *_machine(),
        *(_finding(each.name, each, MEASURED_ON) for each in TARGETS if each.is_timed),
    )


def _machine() -> list[Finding]:
    """Return facts about the machine, one per line, and what a benchmark derives from them."""
    facts = describe()
    facts["usable threads"] = str(usable_threads())
    facts["fingerprint"] = fingerprint(facts)
    return [Finding(name, None, fact, MACHINE) for name, fact in facts.items()]


def _packages() -> list[Finding]:
    """Report each of our packages that Python would import from another distribution."""
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
    """Return whether the runtimes that verify the files of each format are usable."""
    named = [target_named(name) for format in known_formats() for name in format.targets]
    return [_finding(target.name.rpartition(":")[0], target, INSTALLATION) for target in named]


def _finding(subject: str, target: Target, part: str) -> Finding:
    found = target.find()
    return Finding(subject, found.present, found.detail, part)
