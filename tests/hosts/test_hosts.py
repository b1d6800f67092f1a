"""Every host is exported to every format and proved, or refused by a sentence that is known."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters import pipeline
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.errors import InputError
from slide_deploy.graph_checks.check import check_file
from slide_deploy.runtimes import open_file
from slide_deploy.tasks.options import read_lowering
from tests.hosts.host import Host
from tests.hosts.networks import HOSTS
from tests.shared import once
from tests.support import FORMATS, golden_swin

BY_NAME = {host.name: host for host in HOSTS}


def outcome(host: Host, format: str) -> ExportResult | str:
    """What exporting a host comes to, or the sentence that refuses it; shared by all tests."""

    def write(folder: Path) -> ExportResult | str:
        # Its file stays where it fails, so that a test can say what is wrong.
        lowering = read_lowering(host.lowering or "auto")
        options = ExportOptions((format,), folder / "out", lowering, keep_failed=True)
        try:
            return pipeline.export(host.deployable(), options)
        except InputError as error:
            left = [path for path in (folder / "out").rglob("*") if path.is_file()]
            assert not left, f"a refused export leaves {left}"
            return str(error)

    return once(("host", host.name, format), write)


def written(name: str, format: str = "onnx") -> ExportResult:
    result = outcome(BY_NAME[name], format)
    assert isinstance(result, ExportResult), result
    return result


def cases() -> list[object]:
    return [
        pytest.param(
            host,
            format,
            id=f"{host.name}, {format}",
            marks=() if format in host.quick and not host.slow else pytest.mark.slow,
        )
        for host in HOSTS
        for format in FORMATS
    ]


@pytest.mark.parametrize(("host", "format"), cases())
def test_a_host_is_exported_and_proved_or_refused(host: Host, format: str) -> None:
    result = outcome(host, format)
    if format in host.refused:
        assert isinstance(result, str), "it is not refused any more"
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
    left = f"{len(host.left)} left" if host.left else "nothing to fold"
    assert status == ("folded" if host.folds else left)


def open_hosts(format: str) -> list[object]:
    return [
        pytest.param(host, marks=() if format in host.quick else pytest.mark.slow, id=host.name)
        for host in HOSTS
        if host.open_sizes and format not in host.refused
    ]


def at_other_sizes(host: Host, format: str) -> None:
    """Run the file of a host at sizes that nobody tried, and compare it with the user's module."""
    result = outcome(host, format)
    assert isinstance(result, ExportResult), result
    session = open_file(result.files[0].paths[0])
    model, image = host.build()
    height, width = image.shape[2:]
    for rows, columns in ((height + 12, width), (height, width + 20), (2 * height, 3 * width)):
        other = torch.randn(1, 3, rows, columns, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            wanted = model(other)
        wanted = torch.utils._pytree.tree_leaves(wanted)
        given = session({session.inputs[0].name: other.numpy()})
        for name, tensor in zip(session.outputs, wanted, strict=True):
            assert given[name].shape == tuple(tensor.shape)
            scale = tensor.abs().max()
            assert np.abs(given[name] - tensor.numpy()).max() < 1e-4 * scale, (rows, columns, name)


@pytest.mark.parametrize("host", open_hosts("onnx"))
def test_an_open_onnx_file_runs_at_other_sizes(host: Host) -> None:
    at_other_sizes(host, "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("host", open_hosts("openvino"))
def test_an_open_openvino_file_runs_at_other_sizes(host: Host) -> None:
    at_other_sizes(host, "openvino")


@pytest.mark.slow
@pytest.mark.parametrize("host", open_hosts("coreml"))
def test_an_open_core_ml_package_runs_at_other_sizes(host: Host) -> None:
    at_other_sizes(host, "coreml")


def test_the_authors_layout_answers_as_known() -> None:
    golden = golden_swin("slide_swin_nano")
    result = written("authors' Slide-Swin")
    session = open_file(result.files[0].paths[0])
    image = golden.expected["image"][:1].numpy()
    (logits,) = session({"image": image}).values()
    assert np.abs(logits - golden.expected["logits"][:1].numpy()).max() < 1e-4


def test_the_hosts_are_those_that_are_asked_for() -> None:
    names = [host.name for host in HOSTS]
    assert len(set(names)) == len(names) >= 20
    assert all(set(host.quick) <= set(FORMATS) for host in HOSTS)
    assert all(host.folds or not host.lowering for host in HOSTS)
