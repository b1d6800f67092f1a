"""What this machine can do, and what would help where it cannot."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from slide_deploy import PACKAGES, __version__
from slide_deploy.formats import Runtime, known_formats
from slide_deploy.machine import describe, fingerprint, usable_threads

# Parts of the report, in this order; others follow as they come.
INSTALLATION, MACHINE = "installation", "machine"


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
    """Look at this installation and machine.

    Who knows more, the benchmark's targets for example, appends findings of a part of his own.
    """
    return (
        Finding("slide-deploy", True, f"{__version__}, Python {platform.python_version()}"),
        *_packages(),
        _library("torch", "to load checkpoints and to export"),
        *(_runtime(runtime) for format in known_formats() for runtime in format.runtimes),
        *_machine(),
    )


def _machine() -> list[Finding]:
    """Facts about the machine, one a line, and what a benchmark makes of them."""
    facts = describe()
    facts["usable threads"] = str(usable_threads())
    facts["fingerprint"] = fingerprint(facts)
    return [Finding(name, None, fact, MACHINE) for name, fact in facts.items()]


def _packages() -> list[Finding]:
    """Whether another distribution owns one of our names, which Python would import instead."""
    home = Path(__file__).resolve().parent.parent
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


def _runtime(runtime: Runtime) -> Finding:
    reason = runtime.missing()
    if reason is not None:
        return Finding(runtime.name, False, reason)
    # Core AI's package is called otherwise than its distribution.
    distribution = packages_distributions().get(runtime.package, [runtime.package])[0]
    preview = any(runtime in each.runtimes for each in known_formats() if each.is_preview)
    remark = ", a preview" if preview else ""
    return Finding(runtime.name, True, f"{distribution} {version(distribution)}{remark}")
