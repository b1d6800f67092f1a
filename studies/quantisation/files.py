"""``python -m studies.quantisation.files FOLDER``: the effect of each operator family.

A network is written in float32, in int8 with the operator families of its format's record, with
each further family, without each family, and with all families. Each file is verified against the
trained network in float64, on noise that was not used for calibration.
``python -m studies.quantisation`` races the files.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.generated_page import page_command
from exporters.base import Exporter, exporter_for
from exporters.jobs import jobs_of
from exporters.outcome import ExportOptions
from exporters.quantisation.calibration import read_calibration
from exporters.quantisation.examples import Calibration
from exporters.quantisation.families import Family
from exporters.quantisation.making import Making
from exporters.quantisation.noise import write_noise
from exporters.quantisation.plan import families_of
from slide_deploy.backends import open_file
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.files.companions import files_of
from slide_deploy.formats import Format, known_formats
from slide_deploy.precisions import precision_named
from slide_deploy.process import interruption
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.tasks.options import AUTO, read_lowering
from slide_deploy.terminal.progress import Steps
from slide_deploy.verification.cases import example_case
from slide_deploy.verification.verify import feeds_of
from studies.passes.files import RacedNetwork, raced_network
from studies.passes.networks import networks_named
from studies.quantisation.record import DEFAULT, FLOAT32, QuantisedVariant, WrittenFamily

INT8 = "int8"
FORMATS = tuple(each.name for each in known_formats() if INT8 in each.precisions)
# The project's own network, and two with the families of convolutions.
NETWORKS = ("slide_swin_tiny", "repvgg", "convnext")
# Quantisers of other projects that make the same kind of file.
_OTHERS = {"exporters.quantisation.onnx_file": "studies.quantisation.nncf_in_onnx"}
Step = Callable[[str], None]
# Most steps of a format: float32, the default, all families, one per family, two for ONNX only.
_STEPS = 5 + len(Family)


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
    raced: RacedNetwork,
    calibration: Calibration,
    exporter: Exporter,
    written: WrittenFamily,
    place: Path,
    step: Step,
) -> None:
    """Write the files of a format into ``place/NETWORK/FORMAT``; older files are replaced.

    Args:
        raced: the network.
        calibration: a calibration set of noise.
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
    for path, precision in ((plain, FLOAT32), (source, INT8)):
        options = ExportOptions((exporter.format,), Path(), read_lowering(AUTO), precision)
        (job,) = jobs_of(raced.deployable, raced.folded, [exporter], options)
        exporter.write(replace(job.request, precision=FLOAT32), path)
    found = [_proved(raced, QuantisedVariant(FLOAT32, plain.name, (), 0, 0, (), ""), plain)]
    for number, recipe in enumerate(recipes(exporter.record, source, plain)):
        step(f"{exporter.format}: {recipe.name}")
        path = exporter.paths(folder / f"int8-{number}")[0]
        made = _made(raced, calibration, recipe, path)
        if made.name == DEFAULT and made.fault:
            raise InputError(made.fault)
        found.append(made)
    replace(written, variants=tuple(found)).write(folder)


def _made(
    raced: RacedNetwork, calibration: Calibration, recipe: QuantisedRecipe, path: Path
) -> QuantisedVariant:
    """Make an int8 file; the result states the fault if that fails."""
    present = {family.value for family in families_of(recipe.source).values()}
    families = tuple(name for name in recipe.record.quantised if name in present)
    empty = QuantisedVariant(recipe.name, "", families, 0, 0, (), "")
    session = open_file(recipe.source)
    examples = calibration.measured.mapped(lambda feeds: feeds_of(session, raced.deployable, feeds))
    making = Making(Exporter(recipe.record), precision_named(INT8), recipe.source, path, examples)
    try:
        plan = making.make()
        made = replace(empty, file=path.name, operators=len(plan.operators))
        return _proved(raced, made, path)
    except SlideDeployError as error:
        interruption.check()  # a library may have turned Ctrl-C into this error
        return replace(empty, fault=str(error))


def _proved(raced: RacedNetwork, made: QuantisedVariant, path: Path) -> QuantisedVariant:
    precision = precision_named(INT8 if made.families else FLOAT32)
    verdict = raced.verdict(path, precision.limit)
    snr = verdict.worst.snr_db
    least = f"{precision.limit.snr_db:g} dB"
    return replace(
        made,
        size=sum(part.stat().st_size for part in files_of(path).values()),
        snr_db=() if math.isnan(snr) else (snr,),
        fault="" if verdict.passed else f"wrong: {precision.name} requires at least {least}",
    )


def noise_for(deployable: Deployable, folder: Path) -> Calibration:
    """Write noise for the calibration of a network, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = write_noise(deployable, folder / "noise.npz")
    options = ExportOptions(FORMATS, folder, precision=INT8, calibration=archive)
    return read_calibration(archive, deployable, options)


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Run the command; return exit code 2 if a file could not be written or is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.quantisation.files")
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
            (network,) = networks_named((name,))
            deployable = network.deployable(chosen.quick)
            calibration = noise_for(deployable, chosen.folder / name)
            case = example_case("examples held back", calibration.held_back)
            raced = raced_network(deployable, (case,))
            measured, others = len(calibration.measured), case.batch
            examples = f"{measured} images of noise, {others} others for the error"
            for format in formats:
                exporter = exporter_for(format)
                exporter.require(INT8)
                target = exporter.record.target
                known = WrittenFamily(name, format, target, chosen.quick, examples, ())
                write_files(raced, calibration, exporter, known, chosen.folder, step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
