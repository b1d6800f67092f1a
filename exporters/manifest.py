"""The manifest of an export, which links the network, its certificate and the verified files."""

import json
import platform
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from exporters.outcome import ExportedFile, ExportOptions, ExportResult
from exporters.quantisation.examples import Calibration
from slide_deploy import __version__
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.files.reading import read_json
from slide_deploy.formats import known_formats
from slide_deploy.passes.report import PassReport

# 1: the first version, for checkpoints only.
# 2: "source" instead of "checkpoint", because a network may come from elsewhere.
MANIFEST_VERSION = 2


def library_versions() -> dict[str, str]:
    """Return the versions of this project, Python, and the installed libraries that it uses."""
    versions = {"slide-deploy": __version__, "python": platform.python_version()}
    writing = (package for format in known_formats() for package in format.packages)
    for name in dict.fromkeys(("torch", *writing, "numpy")):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def metadata_of(deployable: Deployable) -> dict[str, str]:
    """Return the entries of a file's metadata that state its provenance, by key.

    The graph rules read other entries, which ``declarations`` makes.
    """
    origin = deployable.origin
    entries = {
        "architecture": origin.architecture,
        "source_sha256": origin.sha256,
        "versions": json.dumps(library_versions()),
        **origin.metadata,
    }
    return {f"slide_deploy.{key}": value for key, value in entries.items()}


def entries_beside(
    manifest: Path, source_sha256: str, replaced: Set[str], force: bool
) -> list[dict[str, Any]]:
    """Return the manifest entries of files from an earlier export of the same network.

    Args:
        manifest: path of the manifest; it may be missing.
        source_sha256: hash of the network to export, see ``Origin``.
        replaced: names of the files to write.
        force: ignore a manifest of another network, or one that cannot be read.

    Returns:
        The entries of other files whose hashes still match, in order.

    Raises:
        InputError: if the manifest is of another network or cannot be read, without ``force``.
    """
    if not manifest.exists():
        return []
    try:
        content = read_json(manifest)
        ours = (content["manifest_version"], content["source"]["sha256"])
        entries = [
            entry
            for entry in content["files"]
            if entry["sha256"]
            and not replaced & entry["sha256"].keys()
            and all(
                # An export writes only plain names. Others may lead elsewhere, such as to a device.
                name == Path(name).name
                and (manifest.parent / name).exists()
                and sha256(manifest.parent / name) == digest
                for name, digest in entry["sha256"].items()
            )
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours, entries = None, []
    if ours == (MANIFEST_VERSION, source_sha256):
        return entries
    if force:
        return []
    raise InputError(
        f"{manifest} belongs to another export: give --force to replace it, or another --out."
    )


def manifest_of(
    deployable: Deployable,
    options: ExportOptions,
    result: ExportResult,
    reference_dtype: str,
    others: Sequence[Mapping[str, Any]],
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Return the content of a manifest.

    Args:
        deployable: the network.
        options: options of the export.
        result: result of the export.
        reference_dtype: element type of the reference outputs.
        others: entries of files that are already in the folder.
        calibration: the calibration set; None if the precision needs none.
    """
    measured = {} if calibration is None else {"calibration": calibration.summary()}
    origin = deployable.origin
    return {
        "manifest_version": MANIFEST_VERSION,
        "source": {
            "name": origin.name,
            "sha256": origin.sha256,
            "architecture": origin.architecture,
            "remarks": origin.remarks,
            **origin.facts,
        },
        "certificate": {"status": result.certificate.status, "layers": result.certificate},
        "files": [
            *others,
            *(_entry(file, deployable, options) | measured for file in result.files),
        ],
        "reference": reference_dtype,
        "versions": library_versions(),
    }


def _entry(file: ExportedFile, deployable: Deployable, options: ExportOptions) -> dict[str, Any]:
    lowerings = file.lowerings.items()
    return {
        "format": file.format,
        "lowerings": {name: str(lowering) for name, lowering in lowerings},
        "lowering_sources": {
            name: lowering.source for name, lowering in lowerings if lowering.source
        },
        "passes": [_rewrite(report) for report in file.rewrites],
        "precision": options.precision,
        **({"kept_in_float32": file.kept} if file.kept else {}),
        "inputs": {each.name: list(each.shape) for each in deployable.inputs},
        "outputs": file.verification.outputs,
        "metadata": deployable.origin.metadata,
        "passed": file.passed,
        **({"unproven": file.unproven} if file.unproven else {}),
        "sha256": {path.name: digest for path, digest in zip(file.paths, file.sha256, strict=True)},
        "reference_outputs": (
            {} if file.reference is None else {file.reference.name: sha256(file.reference)}
        ),
        "bytes": file.size,
        "operators": dict(file.operators),
        "violations": file.violations,
        "verification": file.verification,
        **({"verified_on": file.verified_on} if file.verified_on else {}),
        **({} if file.price is None else {"price": file.price}),
    }


def _rewrite(report: PassReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "changed": len(report.changes),
        "refused": len(report.refusals),
        "changes": report.changes,
        "refusals": report.refusals,
    }
