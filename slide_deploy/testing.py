"""Assertions for the tests of a project that ships exported models.

from slide_deploy.testing import assert_graph_valid, assert_parity

def test_exported_model():
    assert_graph_valid("exported/model.onnx")
    assert_parity("exported/model.onnx", "checkpoints/model.pth")
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy.graph_checks import check_file, named_policy

if TYPE_CHECKING:
    from torch import nn

    from slide_deploy.deployable.record import Deployable
    from slide_deploy.hosts import Overrides
    from slide_deploy.verification.divergence import Divergence
    from slide_deploy.verification.parity import Verification


def assert_graph_valid(path: Path | str, policy: Path | str | None = None) -> None:
    """Fail unless a file satisfies every graph rule.

    Args:
        path: an exported file of any format.
        policy: ``standard-ops``, ``portable`` or a policy file. The default is ``standard-ops`` for
            files that slide-deploy wrote, and ``portable`` for others.

    Raises:
        AssertionError: names every broken rule, the node and the remedy.
        InputError: if the file or the policy cannot be used.
    """
    report = check_file(path, None if policy is None else named_policy(str(policy)))
    if not report.passed:
        lines = [
            f"{found.rule} at {found.node or 'the file'}: {found.message} {found.remedy}"
            for found in report.errors
        ]
        raise AssertionError("\n".join([f"{path} breaks {len(lines)} rules:", *lines]))


def assert_parity(
    path: Path | str,
    network: "Deployable | nn.Module | Path | str",
    precision: str = "float32",
    overrides: "Overrides | None" = None,
    inputs: Any = None,
) -> None:
    """Fail unless a file computes the outputs of its network. Requires torch.

    Args:
        path: the exported file; it runs on its own runtime.
        network: the trained checkpoint, a module, what ``slide_deploy.load`` returns, or another
            model file, whose outputs are the true ones.
        precision: one of ``slide_deploy.precisions``; it sets the limit of the error.
        overrides: settings of the checkpoint that the export was given, such as the image size.
        inputs: for a module, example inputs as for ``slide_deploy.export``.

    Raises:
        AssertionError: names the cases in which they disagree and the first layer that does.
        InputError: if the file or the network cannot be used.
    """
    from torch import nn

    from slide_deploy.backends import open_file
    from slide_deploy.deployable.module import deployable_of
    from slide_deploy.deployable.record import Deployable
    from slide_deploy.deployable.trained import deployable_checkpoint
    from slide_deploy.formats import find_format
    from slide_deploy.hosts import load_checkpoint
    from slide_deploy.models.host_network import are_features
    from slide_deploy.verification.verify import locate, verify_file

    file = Path(path)
    if isinstance(network, Path | str) and find_format(Path(network)) is not None:
        _assert_same(file, Path(network), precision)
        return
    if isinstance(network, Deployable):
        trained = network
    elif isinstance(network, nn.Module):
        trained = deployable_of(network, inputs)
    else:
        features = are_features(open_file(file).outputs)
        trained = deployable_checkpoint(load_checkpoint(network, overrides), features=features)
    result = verify_file(file, trained, precision)
    if not result.passed:
        divergence = locate(file, trained, precision)
        raise AssertionError(_disagreement(path, trained.origin.name, result, divergence, "layer"))


def _assert_same(file: Path, other: Path, precision: str) -> None:
    """Fail unless a file computes the outputs of another file."""
    from slide_deploy.verification.two_files.verify import (
        locate_difference,
        open_two_files,
        verify_two_files,
    )

    files = open_two_files(file, other, precision, None, [])
    result = verify_two_files(files, precision)
    if not result.passed:
        divergence = locate_difference(files, result, precision)
        raise AssertionError(_disagreement(file, str(other), result, divergence, "value"))


def _disagreement(
    path: Path | str, other: str, result: "Verification", divergence: "Divergence", what: str
) -> str:
    return (
        f"{path} disagrees with {other} on {', '.join(result.failures)}: largest relative error "
        f"{result.worst.max_relative:.1e}, {result.worst.snr_db:.0f} dB; the first {what} that "
        f"disagrees is {divergence.first_wrong}"
    )
