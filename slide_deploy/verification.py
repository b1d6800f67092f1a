"""A written file against a checkpoint: do they agree, and if not, where do they part?"""

from pathlib import Path

from slide_deploy import parity
from slide_deploy.checkpoint import Checkpoint
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.locate import Parting, part
from slide_deploy.models.backbone import are_features, backbone_of
from slide_deploy.models.slide_swin import SlideSwinTrunk
from slide_deploy.parity import Predict, Verification
from slide_deploy.precisions import precision_named
from slide_deploy.reference import layer_outputs, reference_answers
from slide_deploy.runtimes import Session, open_file, values_of


def verify_file(path: Path, checkpoint: Checkpoint, precision: str = "float32") -> Verification:
    """Run a file on its own runtime and compare it with the trained model in float64.

    Args:
        path: the written file.
        checkpoint: what it must agree with.
        precision: one of ``slide_deploy.precisions``: how far its answers may be off. The file has
            no say.

    Raises:
        InputError: if the file cannot be run or takes other images than the model.
    """
    session = open_file(path)
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    if session.input_shape[1:] != shape:
        raise InputError(
            f"{path} takes images of {_by(session.input_shape[1:])} and {checkpoint.path} of "
            f"{_by(shape)}: name the checkpoint that the file was exported from, and give the "
            f"--image-size of the export."
        )
    model, predict = _counterpart(session, checkpoint)
    cases = parity.verification_cases(shape, session.dynamic_batch, config.patch_size)
    return parity.verify(
        predict,
        cases,
        reference_answers(model, cases),
        runtime=session.runtime,
        version=session.version,
        limit=precision_named(precision).limit,
    )


def _counterpart(session: Session, checkpoint: Checkpoint) -> tuple[SlideSwinTrunk, Predict]:
    """What a file must agree with, and what to call for its answers.

    A file with the outputs stage0, stage1 and so on answers features. Of any other file the first
    output must be the logits, whatever it is called.
    """
    if are_features(session.outputs):
        return backbone_of(checkpoint.model), session.answers
    model = checkpoint.classifier()
    return model, lambda images: {model.output_names[0]: session(images)}


def names_another_checkpoint(path: Path, checkpoint: Checkpoint) -> bool:
    """Whether a file says that it was exported from a file other than this one."""
    named = read_graph(path).metadata.get("slide_deploy.checkpoint_sha256", checkpoint.sha256)
    return named != checkpoint.sha256


def locate(path: Path, checkpoint: Checkpoint, precision: str = "float32") -> Parting:
    """Find the first layer whose output the file computes differently.

    Args:
        path: the written file.
        checkpoint: what it must agree with.
        precision: one of ``slide_deploy.precisions``.

    Raises:
        InputError: if the file cannot be run.
    """
    same_db = precision_named(precision).layer_db
    config = checkpoint.config
    shape = (config.in_channels, *config.image_size)
    model, _ = _counterpart(open_file(path), checkpoint)
    image = parity.verification_cases(shape, False, config.patch_size)[0].images
    return part(layer_outputs(model, image), values_of(path, image), same_db)


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join(map(str, shape))
