"""What an export is asked for, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slide_deploy.graph_checks import Policy, Violation
from slide_deploy.lowerings import DEFAULT_LOWERING, FileChooser, Lowering
from slide_deploy.parity import Verification
from slide_deploy.reparameterize import Certificate


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how.

    Attributes:
        formats: names of formats, each once.
        out: the folder to write into; made if missing.
        lowering: of the slide attentions: one for all, or a function that is asked for each file.
        precision: "float32", "float16" or "mixed".
        policy: rules that the files must keep; the built-in ones if None.
        force: replace files that exist.
        keep_failed: keep a file that fails verification, under its final name.
    """

    formats: tuple[str, ...]
    out: Path
    lowering: Lowering | FileChooser = DEFAULT_LOWERING
    precision: str = "float32"
    policy: Policy | None = None
    force: bool = False
    keep_failed: bool = False


@dataclass(frozen=True)
class ExportedFile:
    """One format's outcome.

    Attributes:
        format: as the user named it.
        paths: what was written; empty where a file failed and was removed.
        sha256: of each path, in the same order.
        lowerings: of each slide attention, by its name.
        size: bytes of all of them.
        operators: how often each operator occurs, the most frequent first.
        violations: rules of the policy that it breaks.
        verification: the verdict on its answers.
        seconds: writing and verifying.
    """

    format: str
    paths: tuple[Path, ...]
    sha256: tuple[str, ...]
    lowerings: Mapping[str, Lowering]
    size: int
    operators: tuple[tuple[str, int], ...]
    violations: tuple[Violation, ...]
    verification: Verification
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the file answers as it must and breaks no rule."""
        return self.verification.passed and not any(
            violation.severity == "error" for violation in self.violations
        )


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export."""

    certificate: Certificate
    files: tuple[ExportedFile, ...]
    manifest: Path

    @property
    def passed(self) -> bool:
        """Whether every file is right."""
        return all(file.passed for file in self.files)
