"""Exported files in Python: verify, check and predict."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy.api.arguments import PathLike, Size, path_of, paths_of, public, size_of
from slide_deploy.errors import CheckFailed, InputError
from slide_deploy.formats import find_format
from slide_deploy.graph_checks.check import Report, check_file
from slide_deploy.graph_checks.policy import Policy, named_policy
from slide_deploy.images.prediction import Guess
from slide_deploy.verification.divergence import Divergence
from slide_deploy.verification.parity import Verification

if TYPE_CHECKING:
    import numpy as np

    from slide_deploy.api.networks import Inputs, Model
    from slide_deploy.deployable.inputs import Input


@dataclass(frozen=True, repr=False)
class FileVerdict:
    """Whether the outputs of a file agree with those of its network, or of another file.

    Attributes:
        path: path of the file.
        network: name of the reference: the network, its stored reference outputs, or the path of
            the other file.
        verification: the errors of every case and output.
        first_divergence: the first layer whose outputs differ, and the noise of each layer of a
            quantised file; against another file, the first value that differs. None without
            ``locate``.
        names_another_source: whether the file's metadata names other weights as its source.
        precision: the precision that the runtime computed in; its limits were applied.
    """

    path: Path
    network: str
    verification: Verification
    first_divergence: Divergence | None = None
    names_another_source: bool = False
    precision: str = "float32"

    @property
    def passed(self) -> bool:
        """Whether every output of every case is within the limits."""
        return self.verification.passed

    def raise_if_failed(self) -> None:
        """Raise if the file disagrees with its network.

        Raises:
            CheckFailed: if an output is outside the limits; the message names the cases.
        """
        if not self.passed:
            cases = ", ".join(self.verification.failures) or "everything: no case was run"
            raise CheckFailed(f"{self.path} disagrees with {self.network} on: {cases}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-compatible data."""
        from exporters.plain import plain_dict

        return {"passed": self.passed, **plain_dict(self)}

    def __repr__(self) -> str:
        from slide_deploy.terminal.console import as_text, case_table, noise_line, noise_table

        verdict = "agrees with" if self.passed else "DISAGREES with"
        lines = [f"{self.path} {verdict} {self.network} in {self.precision}"]
        if self.names_another_source:
            lines.append("note: the file's metadata names other weights as its source")
        if self.first_divergence is not None:
            wrong = self.first_divergence.first_wrong
            agree = f"all {self.first_divergence.layers} agree"
            what = agree if wrong is None else f"{wrong} is the first wrong one"
            lines.append(f"{self.first_divergence.searched}: {what}")
        noise = () if self.first_divergence is None else self.first_divergence.noise
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
    """Run a file and compare its outputs with those of its network in float64, or of another file.

    Args:
        file: an exported file, such as an ``.onnx`` file, an OpenVINO ``.xml`` or an
            ``.mlpackage`` folder.
        model: a module, the path of a checkpoint, or the result of ``load``; it is not changed.
            The path of another model file, of any format, compares the two files: the other one
            runs unoptimised and is right. Default: the reference outputs that the export stored
            beside the file. Neither of these needs torch.
        inputs: example inputs of ``forward``, for a module. For another model file: an array for
            each input, by name or in order, if inputs have open sizes or need certain values.
        precision: precision of the file. It sets the error limits and the precision of the
            runtime. Default: the precision in the file's metadata, if the weights confirm it.
        calibration: for int8 files: the images or the ``.npz`` file of their export. The file is
            verified on the examples that the export held back.
        target: runtime and device, such as "openvino:gpu". Default: the format's own runtime on
            the CPU.
        locate: find the first layer whose outputs differ, or the first value that another file
            does not compute; in a quantised file, also measure the noise of each layer.

    Returns:
        The verdict. A disagreement does not raise; call ``raise_if_failed`` for that.

    Raises:
        InputError: if the file, the network or the target cannot be used, or the inputs of file
            and network differ.
    """
    if model is None:
        given = (inputs, precision, calibration)
        return _by_reference(path_of(file, "file"), target, given != (None, None, None) or locate)
    if isinstance(model, str | os.PathLike) and find_format(path_of(model, "model")) is not None:
        if calibration is not None:
            raise InputError("`calibration` needs the network: give it to verify.")
        other = path_of(model, "model")
        return _by_file(path_of(file, "file"), other, inputs, precision, target, locate)
    from slide_deploy.api.networks import network_of
    from slide_deploy.backends import open_file
    from slide_deploy.models.host_network import are_features
    from slide_deploy.tasks.proofs import examples_to_prove, precision_to_prove
    from slide_deploy.verification import verify

    path = path_of(file, "file")
    record = precision_to_prove(path, precision, target)
    outputs = open_file(path, record.name, target).outputs
    # A checkpoint can output logits or the feature maps of all stages.
    features = isinstance(model, str | os.PathLike) and are_features(outputs)
    network = network_of(model, inputs, features=features)
    shown = None if calibration is None else path_of(calibration, "--calibration")
    examples = examples_to_prove(path, network, record, shown).cases
    return FileVerdict(
        path=path,
        network=network.origin.name,
        precision=record.name,
        verification=verify.verify_file(path, network, record.name, examples, target),
        first_divergence=verify.locate(path, network, record.name) if locate else None,
        names_another_source=verify.names_another_origin(path, network),
    )


def _by_file(
    path: Path,
    reference: Path,
    inputs: "Inputs | None",
    precision: str | None,
    target: str | None,
    locate: bool,
) -> FileVerdict:
    from slide_deploy.tasks.proofs import precision_to_prove
    from slide_deploy.verification.two_files.verify import (
        locate_difference,
        open_two_files,
        verify_two_files,
    )

    record = precision_to_prove(path, precision, target)
    given = _given_inputs(path, inputs)
    files = open_two_files(path, reference, record.name, target, given)
    verification = verify_two_files(files, record.name)
    return FileVerdict(
        path=path,
        network=str(reference),
        precision=record.name,
        verification=verification,
        first_divergence=(locate_difference(files, verification, record.name) if locate else None),
    )


def _given_inputs(path: Path, inputs: "Inputs | None") -> "list[Input]":
    """Arrays for the inputs of a file, from an argument with one of them or with all."""
    from slide_deploy.deployable.inputs import Input
    from slide_deploy.graph_checks import read_graph

    if inputs is None:
        return []
    if not isinstance(inputs, Mapping):
        names = [each.name for each in read_graph(path).inputs]
        arrays = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(names) != len(arrays):
            raise InputError(
                f"{path} takes {', '.join(names)}: give `inputs` an array for each, not "
                f"{len(arrays)}."
            )
        inputs = dict(zip(names, arrays, strict=True))
    return [Input(name, _array(each)) for name, each in inputs.items()]


def _array(values: Any) -> "np.ndarray":
    import numpy as np

    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _by_reference(path: Path, target: str | None, needs_network: bool) -> FileVerdict:
    from slide_deploy.verification.reference_outputs.checking import (
        reference_beside,
        verify_by_reference,
    )

    if needs_network:
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
    """Check an exported file against the rules of a policy, without running it.

    Args:
        file: a model file, such as an ``.onnx`` file, an OpenVINO ``.xml`` or an ``.mlpackage``
            folder.
        policy: a policy, the name of a built-in policy, or the path of a TOML file. Default:
            "standard-ops" for files of slide-deploy, "portable" for all others.

    Returns:
        The violations. ``passed`` is true if none is an error.

    Raises:
        InputError: if the file or the policy cannot be used.
    """
    return check_file(path_of(file, "file"), policy_of(policy))


def policy_of(policy: PathLike | Policy | None) -> Policy | None:
    """Return the policy of an argument: a policy, a name, a path, or None.

    Raises:
        InputError: if the file cannot be used.
    """
    if policy is None or isinstance(policy, Policy):
        return policy
    return named_policy(str(path_of(policy, "--policy")))


def labels_of(labels: PathLike | Sequence[str]) -> tuple[str, ...]:
    """Return class names from an argument: names, the path of a file, or "imagenet".

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
    """Return the most probable classes of images.

    Args:
        file: an exported file that takes one image.
        images: the path of an image, or several.
        labels: class names, the path of a file with one name a line, or "imagenet". Default: the
            labels stored in the file.
        top: number of classes to return for each image.
        image_size: image size for files with an open size: 224, (512, 768) or "512x768".
        output: name of the output with the classes, where several are possible.

    Returns:
        The classes of the first image, the most probable first, then those of the next image.

    Raises:
        InputError: if the file, an image or the labels cannot be used.
    """
    from slide_deploy.backends import open_image_file
    from slide_deploy.images.prediction import predict as guess

    if top < 1:
        raise InputError(f"--top {top} returns no class: give 1 or more.")
    pictures = paths_of(images, "images")
    names = None if labels is None else labels_of(labels)
    opened = open_image_file(path_of(file, "file"))
    return tuple(guess(opened, pictures, names, top, size_of(image_size, "--image-size"), output))
