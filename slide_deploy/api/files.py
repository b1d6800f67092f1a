"""Written files in Python: verify, check and predict."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy.api.arguments import PathLike, Size, path_of, paths_of, public, size_of
from slide_deploy.errors import CheckFailed, InputError
from slide_deploy.graph_checks.check import Report, check_file
from slide_deploy.graph_checks.policy import Policy, named_policy
from slide_deploy.images.prediction import Guess
from slide_deploy.verification.divergence import Divergence
from slide_deploy.verification.parity import Verification

if TYPE_CHECKING:
    from slide_deploy.api.networks import Inputs, Model


@dataclass(frozen=True, repr=False)
class FileVerdict:
    """Whether a file answers as its network does.

    Attributes:
        path: of the file.
        network: what the file was held against.
        verification: the figures of every case and output.
        parting: the first layer that the file computes differently, and the noise of each layer of
            a quantised file; None if it was not looked for.
        names_another_source: whether the file says that it was exported from other weights.
        precision: whose limits were kept or not, and in which the runtime computed.
    """

    path: Path
    network: str
    verification: Verification
    parting: Divergence | None = None
    names_another_source: bool = False
    precision: str = "float32"

    @property
    def passed(self) -> bool:
        """Whether every output of every case is within the limits."""
        return self.verification.passed

    def raise_if_failed(self) -> None:
        """Do nothing if the file is right.

        Raises:
            CheckFailed: if it disagrees; the text names the cases.
        """
        if not self.passed:
            cases = ", ".join(self.verification.failures) or "everything: no case was run"
            raise CheckFailed(f"{self.path} disagrees with {self.network} on: {cases}.")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold."""
        from exporters.plain import plain_dict

        return {"passed": self.passed, **plain_dict(self)}

    def __repr__(self) -> str:
        from slide_deploy.terminal.console import as_text, case_table, noise_line, noise_table

        verdict = "agrees with" if self.passed else "DISAGREES with"
        lines = [f"{self.path} {verdict} {self.network} in {self.precision}"]
        if self.names_another_source:
            lines.append("note: the file says that it was exported from other weights")
        if self.parting is not None:
            wrong = self.parting.first_wrong
            agree = f"all {self.parting.layers} agree"
            lines.append(f"layers: {agree if wrong is None else f'{wrong} is the first wrong one'}")
        noise = () if self.parting is None else self.parting.noise
        tables = (noise_table(noise), noise_line(noise)) if noise else ()
        return as_text(case_table(self.verification), *tables, *lines)


@public
def verify(
    file: PathLike,
    model: "Model | None" = None,
    inputs: "Inputs | None" = None,
    *,
    precision: str | None = None,
    calibration: PathLike | None = None,
    target: str | None = None,
    locate: bool = False,
) -> FileVerdict:
    """Run a written file and compare it with its network in float64.

    Args:
        file: an ``.onnx`` file, an OpenVINO ``.xml`` or an ``.mlpackage`` folder.
        model: a module, the path of a checkpoint, or what ``load`` gave; it is left as it is. The
            reference outputs that the export left beside the file if left out: then neither torch
            nor the network is needed.
        inputs: of a module: an example of what its ``forward`` takes.
        precision: of the file: how far its answers may be off, and what the runtime computes in.
            What the file claims if left out, where it holds that.
        calibration: for files of int8: the pictures or the ``.npz`` file of their export. They are
            proved on the examples that were held back.
        target: runtime and device that run the file, as "openvino:gpu"; its own runtime on the
            processor if left out.
        locate: look for the first layer that the file computes differently; in a quantised file
            for the noise of each layer as well.

    Returns:
        The verdict; it does not raise where the file disagrees: ``raise_if_failed`` does.

    Raises:
        InputError: if the file, the network or the target cannot be used, or they take other
            inputs.
    """
    if model is None:
        given = (inputs, precision, calibration)
        return _by_reference(path_of(file, "file"), target, given != (None, None, None) or locate)
    from slide_deploy.api.networks import network_of
    from slide_deploy.backends import open_file
    from slide_deploy.models.host_network import are_features
    from slide_deploy.tasks.proofs import examples_to_prove, precision_to_prove
    from slide_deploy.verification import verify

    path = path_of(file, "file")
    record = precision_to_prove(path, precision, target)
    outputs = open_file(path, record.name, target).outputs
    # Logits or maps: a checkpoint has both.
    features = isinstance(model, str | os.PathLike) and are_features(outputs)
    network = network_of(model, inputs, features=features)
    shown = None if calibration is None else path_of(calibration, "--calibration")
    examples = examples_to_prove(path, network, record, shown).cases
    return FileVerdict(
        path=path,
        network=network.origin.name,
        precision=record.name,
        verification=verify.verify_file(path, network, record.name, examples, target),
        parting=verify.locate(path, network, record.name) if locate else None,
        names_another_source=verify.names_another_origin(path, network),
    )


def _by_reference(path: Path, target: str | None, asks_more: bool) -> FileVerdict:
    from slide_deploy.verification.reference_outputs.checking import (
        reference_beside,
        verify_by_reference,
    )

    if asks_more:
        raise InputError(
            "`inputs`, `precision`, `calibration` and `locate` need the network: give it to verify."
        )
    reference = reference_beside(path)
    return FileVerdict(
        path=path,
        network="its reference outputs",
        precision=reference.precision,
        verification=verify_by_reference(path, reference, target),
    )


@public
def check(file: PathLike, policy: PathLike | Policy | None = None) -> Report:
    """Hold a written file against the rules of a policy, without running it.

    Args:
        file: an ``.onnx`` file, an OpenVINO ``.xml`` or an ``.mlpackage`` folder.
        policy: a policy, the name of a built-in one, or the path of a TOML file. If left out it is
            "standard-ops" for files of slide-deploy and "portable" for all others.

    Returns:
        The violations; ``passed`` says whether there is none that counts.

    Raises:
        InputError: if the file or the policy cannot be used.
    """
    return check_file(path_of(file, "file"), policy_of(policy))


def policy_of(policy: PathLike | Policy | None) -> Policy | None:
    """A policy that was given as one, by its name or its path, or not at all.

    Raises:
        InputError: if the file cannot be used.
    """
    if policy is None or isinstance(policy, Policy):
        return policy
    return named_policy(str(path_of(policy, "--policy")))


def labels_of(labels: PathLike | Sequence[str]) -> tuple[str, ...]:
    """Names of classes that were given as such, by a file, or as "imagenet".

    Raises:
        InputError: if the file cannot be read.
    """
    from slide_deploy.images.labels import labels_named

    if isinstance(labels, str | os.PathLike):
        return labels_named(path_of(labels, "--labels"))
    return tuple(labels)


@public
def predict(
    file: PathLike,
    images: PathLike | Sequence[PathLike],
    *,
    labels: PathLike | Sequence[str] | None = None,
    top: int = 5,
    image_size: Size | None = None,
    output: str | None = None,
) -> tuple[Guess, ...]:
    """Name the most probable classes of pictures.

    Args:
        file: a written file that takes one image.
        images: a picture, or several.
        labels: names of the classes, the path of a file with one a line, or "imagenet"; those
            that the file holds if left out.
        top: how many classes to name of each picture.
        image_size: for files that take any size: 224, (512, 768) or "512x768".
        output: of the file, where several could be the classes.

    Returns:
        The classes of the first picture, the most probable first, then those of the next one.

    Raises:
        InputError: if the file, a picture or the labels cannot be used.
    """
    from slide_deploy.backends import open_image_file
    from slide_deploy.images.prediction import predict as guess

    if top < 1:
        raise InputError(f"--top {top} names no class: give 1 or more.")
    pictures = paths_of(images, "images")
    names = None if labels is None else labels_of(labels)
    opened = open_image_file(path_of(file, "file"))
    return tuple(guess(opened, pictures, names, top, size_of(image_size, "--image-size"), output))
