"""A written file against a checkpoint: do they agree, and if not, where do they part?"""

from pathlib import Path

from slide_deploy import parity
from slide_deploy.checkpoint import Checkpoint
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.locate import SAME_DB, SAME_DB_FLOAT16, Parting, part
from slide_deploy.parity import Limit, Verification
from slide_deploy.reference import layer_outputs, reference_answers
from slide_deploy.runtimes import open_file, values_of


def verify_file(path: Path, checkpoint: Checkpoint, limit: Limit | None = None) -> Verification:
    """Run a file on its own runtime and compare it with the trained model in float64.

    Args:
        path: the written file.
        checkpoint: what it must agree with.
        limit: how far its answers may be off; if left out, by the precision that the file names.

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
    if limit is None:
        limit = parity.LIMITS.get(precision_of(path), parity.FLOAT32_LIMIT)
    cases = parity.verification_cases(shape, session.dynamic_batch, config.patch_size)
    references = reference_answers(checkpoint.model, cases)
    return parity.verify(
        session, cases, references, runtime=session.runtime, version=session.version, limit=limit
    )


def precision_of(path: Path) -> str:
    """The precision that a file was written in; float32 if it does not say."""
    return read_graph(path).metadata.get("slide_deploy.precision", "float32")


def locate(path: Path, checkpoint: Checkpoint) -> Parting:
    """Find the first layer whose output the file computes differently.

    Args:
        path: the written file.
        checkpoint: what it must agree with.

    Raises:
        InputError: if the file cannot be run.
    """
    same_db = SAME_DB if precision_of(path) == "float32" else SAME_DB_FLOAT16
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    image = parity.verification_cases(shape, False, config.patch_size)[0].images
    return part(layer_outputs(checkpoint.model, image), values_of(path, image), same_db)


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join(map(str, shape))
