"""``python -m slide_deploy.tasks.quantised_files FOLDER``: the effect of each operator family.

A network is written in float32, in int8 with the operator families of its format's record, with
each further family, without each family, and with all families. Each file is verified against the
trained network in float64, on noise that was not used for calibration.
``python -m benchmarks.quantisation`` races the files.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from benchmarks.generated_page import page_command
from benchmarks.passes.networks import networks_named
from benchmarks.quantisation.record import DEFAULT, FLOAT32, QuantisedVariant, WrittenFamily
from exporters.base import Exporter, exporter_for
from exporters.jobs import Job, jobs_of
from exporters.outcome import ExportOptions
from exporters.quantisation.calibration import read_calibration
from exporters.quantisation.examples import Calibration
from exporters.quantisation.families import Family
from exporters.quantisation.making import Making
from exporters.quantisation.noise import write_noise
from exporters.quantisation.plan import families_of
from slide_deploy.backends import open_file
from slide_deploy.deployable.feature_map_sizes import set_feature_map_sizes
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.files.companions import files_of
from slide_deploy.folding.model import reparameterize
from slide_deploy.formats import Format, known_formats
from slide_deploy.precisions import precision_named
from slide_deploy.process import interruption
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.tasks.options import AUTO, read_lowering
from slide_deploy.tasks.pass_files import verified
from slide_deploy.terminal.progress import Steps
from slide_deploy.verification.cases import Case, NamedOutputs, example_case
from slide_deploy.verification.trained_outputs import trained_outputs
from slide_deploy.verification.verify import feeds_of

INT8 = "int8"
FORMATS = tuple(each.name for each in known_formats() if INT8 in each.precisions)
# The project's own network, and two with the families of convolutions.
NETWORKS = ("slide_swin_tiny", "repvgg", "convnext")
# Quantisers of other projects that make the same kind of file.
_OTHERS = {"exporters.quantisation.onnx_file": "slide_deploy.tasks.nncf_in_onnx"}
Step = Callable[[str], None]
# Most steps of a format: float32, the default, all families, one per family, two for ONNX only.
_STEPS = 5 + len(Family)


@dataclass(frozen=True)
class QuantisedSubject:
    """A network and its reference outputs.

    Attributes:
        deployable: the network as trained.
        folded: its folded model.
        calibration: a calibration set of noise.
        case: the examples held back.
        outputs: outputs of the trained network in float64 for the case.
    """

    deployable: Deployable
    folded: nn.Module
    calibration: Calibration
    case: Case
    outputs: NamedOutputs

    def job(self, exporter: Exporter, precision: str) -> Job:
        """Return the job that writes the network in a format and precision."""
        options = ExportOptions(
            (exporter.format,), Path(), read_lowering(AUTO), precision=precision
        )
        return jobs_of(self.deployable, self.folded, [exporter], options)[0]


@dataclass(frozen=True)
class QuantisedRecipe:
    """How to make one int8 file from a float32 file.

    Attributes:
        name: name in tables.
        record: the format's record, with the families to quantise and the quantiser.
        source: path of the float32 file.
    """

    name: str
    record: Format
    source: Path

    @property
    def families(self) -> tuple[str, ...]:
        """The families that are quantised and occur in the file."""
        present = {family.value for family in families_of(self.source).values()}
        return tuple(name for name in self.record.quantised if name in present)


def recipes(record: Format, source: Path, plain: Path) -> Iterator[QuantisedRecipe]:
    """Yield the int8 files to make.

    Args:
        record: record of the format.
        source: the float32 file, written with the passes for int8.
        plain: the float32 file, written with the passes for float32.
    """
    present = [each.value for each in Family if each in set(families_of(source).values())]
    default = [name for name in record.quantised if name in present]

    def of(name: str, families: Sequence[str]) -> QuantisedRecipe:
        return QuantisedRecipe(name, replace(record, quantised=tuple(families)), source)

    yield of(DEFAULT, default)
    for name in present:
        if name not in default:
            yield of(f"{DEFAULT} and {name}", [*default, name])
    for name in default if len(default) > 1 else ():
        yield of(f"{DEFAULT} without {name}", [each for each in default if each != name])
    if set(present) > set(default):
        yield of("all families", present)
    if INT8 in record.other_passes:
        convolved = tuple({*record.quantised, Family.POINTWISE.value})
        yield QuantisedRecipe("passes of float32", replace(record, quantised=convolved), plain)
    if record.quantiser in _OTHERS:
        other = replace(record, quantiser=_OTHERS[record.quantiser])
        yield QuantisedRecipe(f"{DEFAULT}, by NNCF", other, source)


@torch_defaults()
def write_files(
    subject: QuantisedSubject, exporter: Exporter, written: WrittenFamily, place: Path, step: Step
) -> None:
    """Write the files of a format into ``place/NETWORK/FORMAT``; older files are replaced.

    Args:
        subject: the network.
        exporter: exporter of the format.
        written: the record of the files, without variants.
        place: the folder.
        step: called with each step as it starts.

    Raises:
        InputError: if a float32 file, or the int8 file with the record's families, cannot be
            written or is wrong.
    """
    folder = place / written.network / exporter.format
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    step(f"{exporter.format}: {FLOAT32}")
    plain, source = (exporter.paths(folder / name)[0] for name in (FLOAT32, "source"))
    exporter.write(subject.job(exporter, FLOAT32).request, plain)
    exporter.write(replace(subject.job(exporter, INT8).request, precision=FLOAT32), source)
    found = [_proved(subject, QuantisedVariant(FLOAT32, plain.name, (), 0, 0, (), ""), plain)]
    for number, recipe in enumerate(recipes(exporter.record, source, plain)):
        step(f"{exporter.format}: {recipe.name}")
        path = exporter.paths(folder / f"int8-{number}")[0]
        made = _made(subject, recipe, path)
        if made.name == DEFAULT and made.fault:
            raise InputError(made.fault)
        found.append(made)
    replace(written, variants=tuple(found)).write(folder)


def _made(subject: QuantisedSubject, recipe: QuantisedRecipe, path: Path) -> QuantisedVariant:
    """Make an int8 file; the result states the fault if that fails."""
    empty = QuantisedVariant(recipe.name, "", recipe.families, 0, 0, (), "")
    session = open_file(recipe.source)
    examples = subject.calibration.measured.mapped(
        lambda feeds: feeds_of(session, subject.deployable, feeds)
    )
    making = Making(Exporter(recipe.record), precision_named(INT8), recipe.source, path, examples)
    try:
        plan = making.make()
        made = replace(empty, file=path.name, operators=len(plan.operators))
        return _proved(subject, made, path)
    except SlideDeployError as error:
        interruption.check()  # a library may have turned Ctrl-C into this error
        return replace(empty, fault=str(error))


def _proved(subject: QuantisedSubject, made: QuantisedVariant, path: Path) -> QuantisedVariant:
    precision = precision_named(INT8 if made.families else FLOAT32)
    given = ([subject.case], [subject.outputs], precision.limit)
    verdict = verified(path, subject.deployable, *given)
    snr = verdict.worst.snr_db
    least = f"{precision.limit.snr_db:g} dB"
    return replace(
        made,
        size=sum(part.stat().st_size for part in files_of(path).values()),
        snr_db=() if math.isnan(snr) else (snr,),
        fault="" if verdict.passed else f"wrong: {precision.name} requires at least {least}",
    )


def subject_named(name: str, quick: bool, folder: Path) -> QuantisedSubject:
    """Return a network with noise for calibration and its reference outputs."""
    (network,) = networks_named((name,))
    deployable = network.deployable(quick)
    folder.mkdir(parents=True, exist_ok=True)
    archive = write_noise(deployable, folder / "noise.npz")
    options = ExportOptions(FORMATS, folder, precision=INT8, calibration=archive)
    calibration = read_calibration(archive, deployable, options)
    case = example_case("examples held back", calibration.held_back)
    outputs = trained_outputs(deployable, [case]).outputs[0]
    folded, _ = reparameterize(deployable.model)
    set_feature_map_sizes(deployable, folded)
    return QuantisedSubject(deployable, folded, calibration, case, outputs)


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Run the command; return exit code 2 if a file could not be written or is wrong."""
    parser = argparse.ArgumentParser(prog="python -m slide_deploy.tasks.quantised_files")
    parser.add_argument("folder", type=Path, help="to write into")
    parser.add_argument(
        "--network", action="append", default=[], help="of make bench-passes, once for each"
    )
    parser.add_argument("--format", action="append", default=[], choices=FORMATS)
    parser.add_argument("--quick", action="store_true", help="a small network, to try the command")
    chosen = parser.parse_args(arguments)
    names, formats = chosen.network or NETWORKS, chosen.format or FORMATS
    with Steps(False, len(names) * (1 + len(formats) * _STEPS)) as step:
        for name in names:
            step(f"{name}: outputs in float64")
            subject = subject_named(name, chosen.quick, chosen.folder / name)
            measured, others = len(subject.calibration.measured), subject.case.batch
            examples = f"{measured} images of noise, {others} others for the error"
            for format in formats:
                exporter = exporter_for(format)
                exporter.require(INT8)
                target = exporter.record.target
                known = WrittenFamily(name, format, target, chosen.quick, examples, ())
                write_files(subject, exporter, known, chosen.folder, step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
