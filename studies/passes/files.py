"""``python -m studies.passes.files FOLDER``: files that show the effect of each pass.

A network is written with all passes of its format, with none, with each pass alone, with all but
one, and with the format's own converter. Each file is verified against the trained network in
float64. ``python -m studies.passes`` races the files.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from torch.export import ExportedProgram

from benchmarks.generated_page import page_command
from exporters.base import exporter_for, quiet
from exporters.jobs import Job, jobs_of
from exporters.outcome import ExportOptions
from slide_deploy.backends import open_file
from slide_deploy.deployable.feature_map_sizes import set_feature_map_sizes
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.precisions import Limit
from slide_deploy.process import interruption
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.program.traced import Traced
from slide_deploy.tasks.options import AUTO, read_lowering
from slide_deploy.terminal.progress import Steps
from slide_deploy.verification.cases import Case, NamedOutputs, verification_cases
from slide_deploy.verification.parity import LIMITS, Verification, verify
from slide_deploy.verification.trained_outputs import trained_outputs
from slide_deploy.verification.verify import outputs_of
from studies.passes.networks import PassNetwork, networks_named
from studies.passes.plain import FORMATS, WRITERS
from studies.passes.record import PLAIN, WrittenVariant
from studies.passes.variants import measured_passes, variants

PRECISION = "float32"
Step = Callable[[str], None]


@dataclass(frozen=True)
class RacedNetwork:
    """A network whose files are raced, with its reference outputs.

    Attributes:
        deployable: the network as trained.
        folded: its folded model.
        cases: inputs to verify files on.
        outputs: outputs of the trained network in float64 for each case.
    """

    deployable: Deployable
    folded: nn.Module
    cases: tuple[Case, ...]
    outputs: tuple[NamedOutputs, ...]

    def verdict(self, path: Path, limit: Limit) -> Verification:
        """Run a file on the cases, and compare it with the trained network."""
        session = open_file(path)
        return verify(
            lambda feeds: outputs_of(session, self.deployable, feeds),
            self.cases,
            self.outputs,
            runtime=session.runtime,
            version=session.version,
            limit=limit,
        )


def raced_network(deployable: Deployable, cases: tuple[Case, ...]) -> RacedNetwork:
    """Fold a network and compute its reference outputs."""
    folded, _ = reparameterize(deployable.model)
    set_feature_map_sizes(deployable, folded)
    return RacedNetwork(deployable, folded, cases, trained_outputs(deployable, cases).outputs)


@torch_defaults()
def write_files(
    network: PassNetwork, quick: bool, formats: Sequence[str], place: Path, step: Step
) -> None:
    """Write the files of a network into ``place/NETWORK/FORMAT``; older files are replaced.

    Raises:
        InputError: if the file with all passes, or that of the format's own converter, cannot be
            written or is wrong.
    """
    step(f"{network.name}: fold")
    deployable = network.deployable(quick)
    raced = raced_network(deployable, verification_cases(deployable.inputs))
    exporters = [exporter_for(format) for format in formats]
    options = ExportOptions(tuple(formats), place, lowering=read_lowering(AUTO))
    for job in jobs_of(deployable, raced.folded, exporters, options):
        folder = place / network.name / job.exporter.format
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_format(network, raced, job, folder, quick, step)


def _prove(network: PassNetwork, raced: RacedNetwork, path: Path) -> None:
    verdict = raced.verdict(path, LIMITS[PRECISION])
    if not verdict.passed:
        raise InputError(
            f"{path.name} disagrees with {network.name} on: {', '.join(verdict.failures)}."
        )


def _write_format(
    network: PassNetwork, raced: RacedNetwork, job: Job, folder: Path, quick: bool, step: Step
) -> None:
    exporter = job.exporter
    step(f"{network.name}: {PLAIN} {exporter.format}")
    (plain, *_) = exporter.paths(folder / PLAIN)
    with interruption.unswallowed(), quiet():
        WRITERS[exporter.format](raced.deployable, plain)
    _prove(network, raced, plain)
    known: dict[str, Path] = {}
    measured = measured_passes(exporter.passes())
    files, changes, refused = {PLAIN: plain.name}, {}, {}
    for variant, passes in variants(exporter.passes(), network.each).items():
        step(f"{network.name}: {variant} {exporter.format}")
        # One at a time, because each request holds its own copy of the weights.
        request = replace(job.request, passes=passes)
        try:
            with interruption.unswallowed(), quiet():
                key = _fingerprint(request.program)
            if key not in known:
                (path, *_) = exporter.paths(folder / variant.replace(" ", "-"))
                exporter.write(request, path)
                _prove(network, raced, path)
                known[key] = path
        except InputError as error:
            interruption.check()  # a library may have turned Ctrl-C into this error
            if passes == exporter.passes():
                raise
            refused[variant] = str(error)
            continue
        files[variant] = known[key].name
        changes[variant] = {
            report.name: len(report.changes)
            for report in request.reports
            if report.changes and report.name in measured
        }
    WrittenVariant(
        network.name,
        exporter.format,
        exporter.record.target,
        quick,
        measured,
        files,
        changes,
        refused,
    ).write(folder)


def _fingerprint(program: ExportedProgram) -> str:
    """Return a hash that is equal for programs with the same operators and constants."""
    traced = Traced(program)
    outputs = [
        traced.identity[node]
        for node in program.graph.output_node().all_input_nodes
        if node in traced.identity
    ]
    # The number of times that a value is computed counts as well.
    content = f"{outputs} {sorted(traced.identity.values())}"
    return hashlib.sha256(content.encode()).hexdigest()


def _steps(network: PassNetwork, format: str) -> int:
    return 1 + len(variants(exporter_for(format).passes(), network.each))


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Run the command; return exit code 2 if a file could not be written or is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.passes.files")
    parser.add_argument("folder", type=Path, help="to write into")
    parser.add_argument("--network", action="append", default=[], help="once for each; or all")
    parser.add_argument("--format", action="append", default=[], choices=FORMATS)
    parser.add_argument("--quick", action="store_true", help="small networks, to try the command")
    chosen = parser.parse_args(arguments)
    formats = chosen.format or FORMATS
    networks = networks_named(tuple(chosen.network))
    steps = sum(_steps(network, format) for network in networks for format in formats)
    with Steps(False, steps + len(networks)) as step:
        for network in networks:
            write_files(network, chosen.quick, formats, chosen.folder, step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
