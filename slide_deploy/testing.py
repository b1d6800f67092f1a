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


def assert_graph_valid(path: Path | str, policy: Path | str | None = None) -> None:
    """Fail unless a file keeps every rule.

    Args:
        path: an ``.onnx`` file, an OpenVINO ``.xml`` or an ``.mlpackage`` folder.
        policy: ``standard-ops``, ``portable`` or a policy file; if left out, ``standard-ops`` for
            a file that slide-deploy wrote, and ``portable`` for any other.

    Raises:
        AssertionError: names every rule that is broken, where, and what to do.
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
    """Fail unless a file answers as its network does; needs torch.

    Args:
        path: the written file; it runs on its own runtime.
        network: the trained checkpoint, or a network of your own: a module, or what
            ``slide_deploy.load`` gives.
        precision: one of ``slide_deploy.precisions``: how far the answers may be off.
        overrides: what the export was told of the checkpoint, the image size for example.
        inputs: of a module: an example of what it takes, as for ``slide_deploy.export``.

    Raises:
        AssertionError: names the inputs on which they disagree and the first layer that does.
        InputError: if one of the two cannot be used.
    """
    from torch import nn

    from slide_deploy.backends import open_file
    from slide_deploy.deployable.module import deployable_of
    from slide_deploy.deployable.record import Deployable
    from slide_deploy.deployable.trained import deployable_checkpoint
    from slide_deploy.hosts import load_checkpoint
    from slide_deploy.models.host_network import are_features
    from slide_deploy.verification.verify import locate, verify_file

    file = Path(path)
    if isinstance(network, Deployable):
        trained = network
    elif isinstance(network, nn.Module):
        trained = deployable_of(network, inputs)
    else:
        features = are_features(open_file(file).outputs)
        trained = deployable_checkpoint(load_checkpoint(network, overrides), features=features)
    result = verify_file(file, trained, precision)
    if not result.passed:
        parting = locate(file, trained, precision)
        raise AssertionError(
            f"{path} disagrees with {trained.origin.name} on {', '.join(result.failures)}: largest "
            f"relative error {result.worst.max_relative:.1e}, {result.worst.snr_db:.0f} dB; the "
            f"first layer that disagrees is {parting.first_wrong}"
        )
