"""A written file against a checkpoint: do they agree, and if not, where do they part?"""

from pathlib import Path

from slide_deploy import parity
from slide_deploy.checkpoint import Checkpoint
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.locate import SAME_DB, SAME_DB_FLOAT16, Parting, part
from slide_deploy.parity import Verification
from slide_deploy.reference import layer_outputs, reference_answers
from slide_deploy.runtimes import open_file, values_of


def verify_file(path: Path, checkpoint: Checkpoint, precision: str = "float32") -> Verification:
    """Run a file on its own runtime and compare it with the trained model in float64.

    Args:
        path: the written file.
        checkpoint: what it must agree with.
        precision: a key of ``parity.LIMITS``: how far its answers may be off. The file has no say.

    Raises:
        InputError: if the file cannot be run or takes other images than the model.
    """
    session = open_file(path)
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    if session.input_shape[1:] != shape:
        raise InputError(
            f"{path} takes images of {_by(session.input_shape[1:])} and {checkpoint.path} of "
            f"{_by(shape)}: name the checkpoint that the file was exported from."
        )
    cases = parity.verification_cases(shape, session.dynamic_batch, config.patch_size)
    references = reference_answers(checkpoint.model, cases)
    return parity.verify(
        session,
        cases,
        references,
        runtime=session.runtime,
        version=session.version,
        limit=parity.LIMITS[precision],
    )


def names_another_checkpoint(path: Path, checkpoint: Checkpoint) -> bool:
    """Whether a file says that it was exported from a file other than this one."""
    named = read_graph(path).metadata.get("slide_deploy.checkpoint_sha256", checkpoint.sha256)
    return named != checkpoint.sha256


def locate(path: Path, checkpoint: Checkpoint, precision: str = "float32") -> Parting:
    """Find the first layer whose output the file computes differently.

    Args:
        path: the written file.
        checkpoint: what it must agree with.
        precision: a key of ``parity.LIMITS``.

    Raises:
        InputError: if the file cannot be run.
    """
    same_db = SAME_DB if precision == "float32" else SAME_DB_FLOAT16
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    image = parity.verification_cases(shape, False, config.patch_size)[0].images
    return part(layer_outputs(checkpoint.model, image), values_of(path, image), same_db)


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join(map(str, shape))
