"""How a written file is held against its network: in which precision, and on which inputs."""

from dataclasses import dataclass
from pathlib import Path

from exporters.outcome import ExportOptions
from exporters.quantisation.calibration import read_calibration
from slide_deploy.backends.opening import require_target, target_for
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import CALIBRATION_KEY, PRECISION_KEY
from slide_deploy.graph_checks.policy import standard_ops
from slide_deploy.graph_checks.rules.precision import RULE
from slide_deploy.images.description import Preprocessing, read_description
from slide_deploy.precisions import FLOAT32, Precision, precision_named
from slide_deploy.verification.cases import Case, example_case


@dataclass(frozen=True)
class FormProof:
    """What a file is held to.

    Attributes:
        cases: the examples that an export of the same calibration set held back; None for
            precisions that are proved on cases of our own.
        remarks: what is to be said of them, a clause each.
    """

    cases: tuple[Case, ...] | None = None
    remarks: tuple[str, ...] = ()


def precision_to_prove(path: Path, asked: str | None, target: str | None = None) -> Precision:
    """The precision whose limits and arithmetic a file is held to.

    It is the one that was asked for, else the one that the file claims. A claim counts only where
    the file holds what it says (SD021), so that no edited word excuses a wrong answer.

    Args:
        path: of the file.
        asked: name of a precision; None for what the file claims, float32 if it claims none.
        target: that is to run the file; its own if None.

    Raises:
        InputError: if there is no such precision, the target is not here, or the file does not hold
            what it claims.
    """
    if asked is not None:
        return precision_named(asked)
    require_target(target or target_for(path).name)  # without it nothing can be proved
    graph = read_graph(path)
    broken = next(iter(RULE.check(graph, standard_ops())), None)
    if broken is not None:
        said = broken.message.rstrip(".")
        raise InputError(
            f"{path} does not hold what it claims ({said}): give the --precision that is meant."
        )
    return precision_named(graph.metadata.get(PRECISION_KEY, FLOAT32.name))


def examples_to_prove(
    path: Path, deployable: Deployable, precision: Precision, calibration: Path | None
) -> FormProof:
    """The examples that an export of the same calibration set held back.

    Args:
        path: of the file.
        deployable: its network.
        precision: of the file.
        calibration: a folder of pictures or a ``.npz`` file.

    Raises:
        InputError: if the precision takes examples and there are none, or they do not fit.
    """
    if not precision.is_calibrated:
        if calibration is not None:
            raise InputError(
                f"--calibration is for files of int8, and {path} is held to {precision.name}: "
                f"leave it out."
            )
        return FormProof()
    if calibration is None:
        raise InputError(
            f"{precision.name} is proved on examples, as ranges of values say nothing of noise: "
            f"give --calibration the pictures, or the .npz file, of the export."
        )
    metadata = read_graph(path).metadata
    described = read_description(metadata)
    preprocessing = Preprocessing()
    if described is not None:
        preprocessing = Preprocessing(described.mean, described.deviation, described.inside)
    options = ExportOptions((), path.parent, precision=precision.name, preprocessing=preprocessing)
    found = read_calibration(calibration, deployable, options)
    remarks: tuple[str, ...] = ()
    if metadata.get(CALIBRATION_KEY, found.sha256) != found.sha256:
        remarks = (
            f"{calibration} is another set than the one that {path.name} was calibrated on, which "
            f"may have held back others",
        )
    return FormProof((example_case("examples held back", found.held_back),), remarks)
