"""Every host is exported to every format and verified, or refused with the expected message."""

import json
import re

import numpy as np
import pytest
import torch

from exporters.outcome import ExportResult
from slide_deploy.backends import open_file
from slide_deploy.graph_checks.check import check_file
from tests.hosts.host import Host
from tests.hosts.networks import HOSTS
from tests.hosts.outcome import outcome
from tests.hosts.plain import LONG_FORMATS, NAMED
from tests.hosts.written import WRITTEN
from tests.support import FORMATS, golden_swin

BY_NAME = {host.name: host for host in HOSTS}


def written(name: str, format: str = "onnx") -> ExportResult:
    result = outcome(BY_NAME[name], format)
    assert isinstance(result, ExportResult), result
    return result


def formats(host: Host) -> tuple[str, ...]:
    """Return the formats in which the slow tests export a host. Every other pair is a full test.

    - Attentions written in other ways are replaced by the same layers before the export, so one in
      three is tested, formats in turn.
    - Every golden attention is tested in one of its two networks.
    - A large feature map is the same as a small one to converters.
    - Every other network of the graph rules is tested in one format, in turn.
    - Other hosts are tested in all formats if one refuses them, every other one in one format
      if sizes are open, else in the quick ones only.
    """
    for name, named in NAMED.items():
        if host is named:
            return LONG_FORMATS[name] if list(NAMED).index(name) % 2 else ()
    if host in WRITTEN[1:]:
        place = WRITTEN.index(host)
        return () if place % 3 else (FORMATS[place // 3 % len(FORMATS)],)
    if host.name.endswith("in a residual net"):
        return ("openvino",)
    if host.slow or host.name.endswith("in a dense net"):
        return ()
    if host.refused:
        return FORMATS
    if host.open_sizes and HOSTS.index(host) % 2 == 0:
        return (FORMATS[HOSTS.index(host) // 2 % len(FORMATS)],)
    return ()


def cases() -> list[object]:
    def marks(host: Host, format: str) -> object:
        if format in host.quick and not host.slow:
            return ()
        return pytest.mark.slow if format in formats(host) else pytest.mark.full

    return [
        pytest.param(host, format, id=f"{host.name}, {format}", marks=marks(host, format))
        for host in HOSTS
        for format in FORMATS
    ]


@pytest.mark.parametrize(("host", "format"), cases())
def test_a_host_is_exported_and_proved_or_refused(host: Host, format: str) -> None:
    result = outcome(host, format)
    if format in host.refused:
        assert isinstance(result, str), "the format no longer refuses it"
        assert re.search(host.refused[format], result), result
        assert "\n" not in result and result.endswith(".")
        return
    assert isinstance(result, ExportResult), result
    (file,) = result.files
    assert file.verification.passed, file.verification.failures
    assert file.violations == ()
    assert result.passed and all(path.exists() for path in file.paths)
    assert check_file(file.paths[0]).passed
    folded = {layer.name for layer in result.certificate.folded}
    assert len(folded) == host.folds
    assert {layer.name for layer in result.certificate.left} == set(host.left)
    assert all(layer.error < 1e-9 for layer in result.certificate.folded)
    assert len(file.lowerings) == host.folds
    entries = json.loads(result.manifest.read_text())
    assert [entry["format"] for entry in entries["files"]] == [format]
    status = entries["certificate"]["status"]
    merged = len(result.certificate.merged)
    assert status == expected_status(host, merged)


def expected_status(host: Host, merged: int) -> str:
    """Return the certificate's status for a number of merged branches."""
    counts = ((host.folds, "folded"), (len(host.left), "left"), (merged, "merged"))
    listed = [f"{count} {what}" for count, what in counts if count]
    if listed == [f"{host.folds} folded"]:
        return "folded"
    return ", ".join(listed) or "nothing to fold"


def open_hosts(format: str) -> list[object]:
    return [
        pytest.param(
            host,
            marks=()
            if format in host.quick
            else pytest.mark.slow
            if format in formats(host)
            else pytest.mark.full,
            id=host.name,
        )
        for host in HOSTS
        if host.open_sizes and format not in host.refused
    ]


def agrees_at_other_sizes(host: Host, format: str) -> None:
    """Run a host's file at sizes other than those of the export, and compare it with the module."""
    result = outcome(host, format)
    assert isinstance(result, ExportResult), result
    session = open_file(result.files[0].paths[0])
    model, image = host.build()
    height, width = image.shape[2:]
    for rows, columns in ((height + 12, width), (height, width + 20), (2 * height, 3 * width)):
        other = torch.randn(1, 3, rows, columns, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(model(other))
        found = session({session.inputs[0].name: other.numpy()})
        for name, tensor in zip(session.outputs, expected, strict=True):
            assert found[name].shape == tuple(tensor.shape)
            scale = tensor.abs().max()
            assert np.abs(found[name] - tensor.numpy()).max() < 1e-4 * scale, (rows, columns, name)


@pytest.mark.parametrize("host", open_hosts("onnx"))
def test_an_open_onnx_file_runs_at_other_sizes(host: Host) -> None:
    agrees_at_other_sizes(host, "onnx")


@pytest.mark.parametrize("host", open_hosts("openvino"))
def test_an_open_openvino_file_runs_at_other_sizes(host: Host) -> None:
    agrees_at_other_sizes(host, "openvino")


@pytest.mark.parametrize("host", open_hosts("coreml"))
def test_an_open_core_ml_package_runs_at_other_sizes(host: Host) -> None:
    agrees_at_other_sizes(host, "coreml")


def test_the_authors_layout_reproduces_the_known_logits() -> None:
    golden = golden_swin("slide_swin_nano")
    result = written("authors' Slide-Swin")
    session = open_file(result.files[0].paths[0])
    image = golden.expected["image"][:1].numpy()
    (logits,) = session({"image": image}).values()
    assert np.abs(logits - golden.expected["logits"][:1].numpy()).max() < 1e-4


def test_hosts_are_many_and_have_unique_names() -> None:
    names = [host.name for host in HOSTS]
    assert len(set(names)) == len(names) >= 20
    assert all(set(host.quick) <= set(FORMATS) for host in HOSTS)
    assert all(host.folds or not host.lowering for host in HOSTS)
