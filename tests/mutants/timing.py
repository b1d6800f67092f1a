"""Find out whether a damaged file would be timed, on any target that times its format here."""

from dataclasses import replace
from pathlib import Path

from benchmarks.measuring.worker import Worker
from benchmarks.record import Candidate
from slide_deploy.backends.base import Configuration
from slide_deploy.backends.registry import targets_for
from slide_deploy.files.companions import model_digest
from slide_deploy.verification.reference_outputs.reference_file import (
    read_reference,
    reference_path,
    write_reference,
)


def timed_on(path: Path, valid: Path) -> list[str]:
    """Names of the targets that would time a file which has the valid file's reference outputs.

    The reference outputs are bound to the damaged file, so only its outputs can show the damage.
    """
    reference = read_reference(valid)
    assert reference is not None
    write_reference(reference_path(path), replace(reference, model_sha256=model_digest(path)))
    names = [each.name for each in targets_for(path) if each.is_timed and each.find().present]
    return [name for name in names if _is_timed(path, name)]


def _is_timed(path: Path, target: str) -> bool:
    worker = Worker()
    try:
        candidate = Candidate("mutant", str(path), target, Configuration())
        worker.load(candidate)
        if worker.prove(None)[1]:
            worker.prove_open(candidate)
    except Exception:  # as in the race, the candidate then has no figure
        return False
    return True
