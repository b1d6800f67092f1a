"""How a file is verified against its network: in which precision, and on which inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slide_deploy.backends.opening import require_target, target_for
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import CALIBRATION_KEY, PRECISION_KEY
from slide_deploy.graph_checks.policy import standard_ops
from slide_deploy.graph_checks.rules.precision import RULE
from slide_deploy.images.description import Preprocessing, read_description
from slide_deploy.precisions import FLOAT32, Precision, precision_named
from slide_deploy.verification.cases import Case, example_case

if TYPE_CHECKING:
    from slide_deploy.deployable.record import Deployable


@dataclass(frozen=True)
class FormProof:
    """The inputs that a file is verified on.

    Attributes:
        cases: the examples that an export with the same calibration set held back; None for
            precisions that are verified on generated inputs.
        remarks: remarks on the examples for the user, a clause each.
    """

    cases: tuple[Case, ...] | None = None
    remarks: tuple[str, ...] = ()


def precision_to_prove(path: Path, requested: str | None, target: str | None = None) -> Precision:
    """Return the precision whose error limits and arithmetic apply to a file.

    It is the requested precision, or else the one in the file's metadata. The metadata counts only
    if the weights confirm it (rule SD021), so an edited entry cannot excuse wrong outputs.

    Args:
        path: path of the file.
        requested: name of the requested precision; None for the one in the file's metadata, or
            float32 if the metadata has none.
        target: target that will run the file; None for the format's own.

    Raises:
        InputError: if the precision is unknown, the target is not available here, or the weights
            contradict the metadata.
    """
    if requested is not None:
        return precision_named(requested)
    require_target(target or target_for(path).name)  # report a missing runtime first
    graph = read_graph(path)
    broken = next(iter(RULE.check(graph, standard_ops())), None)
    if broken is not None:
        reason = broken.message.rstrip(".")
        raise InputError(
            f"{path} does not match the precision in its metadata ({reason}): give the right "
            f"--precision."
        )
    return precision_named(graph.metadata.get(PRECISION_KEY, FLOAT32.name))


def examples_to_prove(
    path: Path, deployable: "Deployable", precision: Precision, calibration: Path | None
) -> FormProof:
    """Return the examples that an export with the same calibration set held back.

    Args:
        path: path of the file.
        deployable: its network.
        precision: precision of the file.
        calibration: a folder of images or a ``.npz`` file.

    Raises:
        InputError: if the precision needs examples and there are none, they do not fit the
            network, or the precision needs none and there are some.
    """
    if not precision.is_calibrated:
        if calibration is not None:
            raise InputError(
                f"--calibration is for int8 files, and {path} is verified in {precision.name}: "
                f"leave it out."
            )
        return FormProof()
    if calibration is None:
        raise InputError(
            f"{precision.name} is verified on examples, because its error depends on real inputs: "
            f"give --calibration the images, or the .npz file, of the export."
        )
    from exporters.outcome import ExportOptions
    from exporters.quantisation.calibration import read_calibration

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
            f"{path.name} was calibrated on another set than {calibration}, so its calibration may "
            f"have used these examples",
        )
    return FormProof((example_case("examples held back", found.held_back),), remarks)
