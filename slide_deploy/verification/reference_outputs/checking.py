"""Verify a file on disk against the reference outputs beside it, without checkpoint and torch."""

from pathlib import Path

from slide_deploy.backends.opening import open_file
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.files.model_files import require_model_file
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.reference_outputs.proof import prove
from slide_deploy.verification.reference_outputs.record import Reference
from slide_deploy.verification.reference_outputs.reference_file import (
    read_reference,
    reference_path,
)


def reference_beside(path: Path) -> Reference:
    """Read the reference outputs beside a file.

    Raises:
        InputError: if the file or its reference outputs are missing, or if these are damaged or
            belong to another file.
    """
    require_model_file(path)
    found = read_reference(path)
    if found is None:
        raise InputError(
            f"{path} has no {reference_path(path).name} beside it: give the checkpoint with "
            f"--against, or a network of your own with --model."
        )
    if found.model_sha256 != model_digest(path):
        raise InputError(
            f"{path} is not the file that {reference_path(path).name} belongs to: export it again, "
            f"or give the checkpoint with --against."
        )
    return found


def verify_by_reference(
    path: Path, reference: Reference, target: str | None = None
) -> Verification:
    """Run a file on the stored cases and compare its outputs with the stored ones.

    Args:
        path: the file.
        reference: its reference outputs, see ``reference_beside``.
        target: name of the target that runs it, see ``slide_deploy.backends``; None for the
            format's own.

    Raises:
        InputError: if the file cannot be run, or if no case has sizes that it takes.
    """
    session = open_file(path, reference.precision, target)
    verdict = prove(session, session.new_stream(), reference)
    if verdict is None:
        raise InputError(
            f"{reference_path(path)} has no case with the input sizes of {path.name}: export it "
            f"again."
        )
    return verdict
