"""The command line: wires, prints and exits. 0 success, 1 a check that says no, 2 unusable input.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

import re
import signal
import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy import __version__
from slide_deploy.errors import InputError, MissingExtra, SlideDeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slide_deploy.checkpoint import Checkpoint
    from slide_deploy.graph_checks import Report
    from slide_deploy.locate import Parting
    from slide_deploy.reparameterize import Certificate

app = typer.Typer(
    name="slide-deploy",
    help="Fold, export, verify and check vision models that use Slide Attention.",
    epilog="Example: slide-deploy export model.pth --to onnx --to openvino --out exported",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Precision(StrEnum):
    """Type of weights and, where the format has it, of the arithmetic."""

    float32 = "float32"
    float16 = "float16"
    mixed = "mixed"


class Weights(StrEnum):
    """Which weights of a training run to take."""

    auto = "auto"
    averaged = "averaged"
    raw = "raw"


CheckpointArgument = Annotated[
    Path, typer.Argument(help="Trained checkpoint: .pth, .pt or .safetensors.", show_default=False)
]
WeightsOption = Annotated[
    Weights, typer.Option(help="Averaged or last weights; auto prefers averaged ones.")
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(help="Image side, or HEIGHTxWIDTH, where the file cannot tell.", metavar="SIZE"),
]
WindowSizeOption = Annotated[
    int | None, typer.Option(help="Largest attention window, where the file cannot tell.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]


def main() -> None:
    """Run the command line; an error that is ours becomes one sentence and exit code 2."""
    # Ended from outside is ended in order: what was half-written goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except SlideDeployError as error:
        typer.echo(f"slide-deploy: {error}", err=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """Fold, export, verify and check vision models that use Slide Attention."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(epilog="Example: slide-deploy export model.pth --to onnx --to coreml --out exported")
def export(
    checkpoint: CheckpointArgument,
    to: Annotated[
        list[str],
        typer.Option(help="onnx, openvino or coreml; give it once for each.", metavar="FORMAT"),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("exported"),
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Leave the batch size open.")
    ] = False,
    precision: Annotated[
        Precision,
        typer.Option(
            help="float16: OpenVINO's weights, all of Core ML. mixed: Core ML's projections only."
        ),
    ] = Precision.float32,
    weights: WeightsOption = Weights.auto,
    image_size: ImageSizeOption = None,
    window_size: WindowSizeOption = None,
    force: ForceOption = False,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Keep a file that fails verification.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fold a checkpoint, write it in other formats and prove each file.

    Every file is read back from disk and run on its own runtime against the trained model in
    float64. One that disagrees is removed, and the exit code is 1.
    """
    from exporters.registry import exporter_for
    from slide_deploy.console import stdout, verification_table
    from slide_deploy.progress import Steps

    for format in to:
        exporter_for(format).require(precision)
    with Steps(quiet or as_json, 3 + 2 * len(set(to))) as step:
        step(f"load {checkpoint.name}")
        trained = _load(checkpoint, weights, image_size, window_size)

        from exporters.pipeline import ExportOptions
        from exporters.pipeline import export as run_export

        options = ExportOptions(
            formats=tuple(to),
            out=out,
            dynamic_batch=dynamic_batch,
            precision=precision.value,
            force=force,
            keep_failed=keep_failed,
        )
        result = run_export(trained, options, step)
    if as_json:
        typer.echo(result.manifest.read_text(), nl=False)
    elif not quiet:
        console = stdout()
        _describe(trained)
        _print_certificate(result.certificate)
        console.print(
            verification_table(
                "Verification against the trained model in float64",
                [(file.format, file.verification) for file in result.files],
            )
        )
        if any(file.verification.runtime == "mil-interpreter" for file in result.files):
            typer.echo(
                "Core ML itself needs macOS: the package was read back and run by the MIL "
                "interpreter of slide-deploy."
            )
        for file in result.files:
            if file.paths:
                typer.echo(f"written: {file.paths[0]} ({file.size / 1e6:.1f} MB)")
        typer.echo(f"written: {result.manifest}")
    for file in result.files:
        fate = "kept on request" if file.paths else "removed"
        if not file.verification.passed:
            typer.echo(
                f"slide-deploy: the {file.format} file disagrees with {checkpoint} on: "
                f"{', '.join(file.verification.failures)}; it was {fate}.",
                err=True,
            )
        for violation in file.violations:
            typer.echo(
                f"slide-deploy: the {file.format} file breaks {violation.rule} at "
                f"{violation.node or 'the file'}: {violation.message} {violation.remedy}",
                err=True,
            )
    raise typer.Exit(0 if result.passed else 1)


@app.command(epilog="Example: slide-deploy fold model.pth -o folded.safetensors")
def fold(
    checkpoint: CheckpointArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, .safetensors.")],
    weights: WeightsOption = Weights.auto,
    image_size: ImageSizeOption = None,
    window_size: WindowSizeOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fold a checkpoint and write the folded weights, with a certificate of what was done."""
    if output.exists() and not force:
        raise InputError(f"{output} exists: give --force to replace it, or another --output.")
    from slide_deploy.progress import Steps

    with Steps(quiet or as_json, 3) as step:
        step(f"load {checkpoint.name}")
        trained = _load(checkpoint, weights, image_size, window_size)

        from exporters.manifest import to_json
        from slide_deploy.checkpoint.save import save_folded
        from slide_deploy.models.slide_swin import SlideSwin
        from slide_deploy.reparameterize import reparameterize

        step("fold")
        folded, certificate = reparameterize(trained.model)
        assert isinstance(folded, SlideSwin)
        step(f"write {output.name}")
        save_folded(folded, trained, output)
    if as_json:
        typer.echo(to_json({"status": certificate.status, "certificate": certificate}), nl=False)
    elif not quiet:
        _describe(trained)
        _print_certificate(certificate)
        typer.echo(f"written: {output}")


@app.command(epilog="Example: slide-deploy verify exported/model.onnx --against model.pth")
def verify(
    file: Annotated[Path, typer.Argument(help="A written file.", show_default=False)],
    against: Annotated[
        Path, typer.Option(help="The checkpoint that it must agree with.", show_default=False)
    ],
    weights: WeightsOption = Weights.auto,
    image_size: ImageSizeOption = None,
    window_size: WindowSizeOption = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the file: how far its answers may be off.")
    ] = Precision.float32,
    locate: Annotated[
        bool, typer.Option("--locate", help="Name the first layer that disagrees.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a file with a checkpoint again, later or on another machine."""
    from slide_deploy.console import case_table, stdout
    from slide_deploy.progress import Steps
    from slide_deploy.runtimes import open_file

    runtime = open_file(file).runtime
    with Steps(quiet or as_json, 3) as step:
        step(f"load {against.name}")
        trained = _load(against, weights, image_size, window_size)

        from exporters.manifest import to_json
        from slide_deploy.verification import locate as find
        from slide_deploy.verification import names_another_checkpoint, verify_file

        step(f"run on {runtime} and compare with {against.name} in float64")
        result = verify_file(file, trained, precision.value)
        foreign = names_another_checkpoint(file, trained)
        parting = None
        if locate:
            step("compare layer by layer")
            parting = find(file, trained, precision.value)
    if as_json:
        report = {
            "passed": result.passed,
            "verification": result,
            "locate": parting,
            "names_another_checkpoint": foreign,
        }
        typer.echo(to_json(report), nl=False)
    elif not quiet:
        stdout().print(case_table(result))
        if foreign:
            typer.echo(f"note: {file.name} says that it was exported from another checkpoint file")
    if parting is not None and not as_json and not quiet:
        typer.echo(_describe_parting(parting))
    if not result.passed:
        typer.echo(
            f"slide-deploy: {file} disagrees with {against} on: {', '.join(result.failures)}.",
            err=True,
        )
        raise typer.Exit(1)


@app.command(epilog="Example: slide-deploy predict exported/model.onnx cat.jpg --top 3")
def predict(
    file: Annotated[Path, typer.Argument(help="A written file.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Pictures.", show_default=False)],
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, one a line.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Name the most probable classes of pictures, prepared as in ImageNet training."""
    import json
    from dataclasses import asdict

    from rich.markup import escape

    from slide_deploy.console import stdout, table
    from slide_deploy.prediction import predict as guess
    from slide_deploy.runtimes import open_file

    session, names = open_file(file), _read_labels(labels)
    guesses = [row for image in images for row in guess(session, image, names, top)]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in guesses], indent=2))
        return
    grid = table(f"on {session.runtime}", [("picture", False), ("class", False), ("share", True)])
    for row in guesses:
        grid.add_row(escape(row.image), escape(row.name), f"{row.probability:.1%}")
    stdout().print(grid)


@app.command(epilog="Example: slide-deploy check exported/*.onnx --sarif check.sarif")
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help=".onnx, .xml or .mlpackage, one or more.", show_default=False),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy, laid over standard-ops.", metavar="TOML")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 here.")] = None,
    show_policy: Annotated[
        bool, typer.Option("--show-policy", help="Print the built-in policy and do nothing else.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hold files against the rules of a policy, without the checkpoint and without a runtime."""
    from slide_deploy import graph_checks

    if show_policy:
        typer.echo(graph_checks.standard_ops_text(), nl=False)
        return
    if not files:
        raise InputError("No file to check: name an .onnx, .xml or .mlpackage.")
    rules = graph_checks.load_policy(policy) if policy else graph_checks.standard_ops()
    reports = graph_checks.check_files(files, rules)

    from slide_deploy.graph_checks import reports as forms

    _write_report(junit, forms.junit, reports)
    _write_report(sarif, forms.sarif, reports)
    if as_json:
        typer.echo(forms.as_json(reports), nl=False)
    elif not quiet:
        from slide_deploy.console import stdout

        for report in reports:
            if report.violations:
                stdout().print(forms.report_table(report))
        stdout().print(forms.summary(reports))
    unusable = [report for report in reports if report.unusable]
    for report in unusable:
        typer.echo(f"slide-deploy: {report.unusable}", err=True)
    if not all(report.passed for report in reports):
        raise typer.Exit(2 if unusable else 1)


@app.command(epilog="Example: slide-deploy inspect exported/model.onnx")
def inspect(
    file: Annotated[Path, typer.Argument(help=".onnx, .xml or .mlpackage.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Say what a file costs: operators, parameters, multiply-accumulates, memory, depth."""
    from slide_deploy import graph_checks

    inspection = graph_checks.inspect(graph_checks.read_graph(file))
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(inspection), indent=2))
        return
    from slide_deploy.console import stdout
    from slide_deploy.graph_checks.reports import inspection_tables

    for grid in inspection_tables(file, inspection):
        stdout().print(grid)


@app.command(epilog="Example: slide-deploy models")
def models() -> None:
    """List the published architectures; any other setting of them is read from the file."""
    from slide_deploy.console import stdout, table
    from slide_deploy.models.registry import ARCHITECTURES

    grid = table(
        "",
        [
            ("architecture", False),
            ("width", True),
            ("depths", False),
            ("heads", False),
            ("parameters", True),
            ("GFLOPs (paper)", True),
        ],
    )
    for architecture in ARCHITECTURES:
        config = architecture.config
        grid.add_row(
            architecture.name,
            str(config.embed_dim),
            " ".join(map(str, config.depths)),
            " ".join(map(str, config.num_heads)),
            f"{architecture.parameters:,}",
            f"{architecture.paper_gflops}",
        )
    stdout().print(grid)


@app.command(epilog="Example: slide-deploy doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Say which runtimes and libraries are here, and why one is missing."""
    from slide_deploy.console import findings_table, stdout
    from slide_deploy.doctor import examine

    findings = examine()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        stdout().print(findings_table(findings))


def _write_report(
    path: Path | None, form: "Callable[[Sequence[Report]], str]", reports: "Sequence[Report]"
) -> None:
    if path is None:
        return
    try:
        path.write_text(form(reports), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; check its folder."
        ) from error


def _load(
    path: Path, weights: Weights, image_size: str | None, window_size: int | None
) -> "Checkpoint":
    if find_spec("torch") is None:
        raise MissingExtra("torch", "all")
    from slide_deploy.checkpoint import Overrides, load_checkpoint

    size = None if image_size is None else _parse_size(image_size)
    return load_checkpoint(path, Overrides(weights.value, size, window_size))


def _read_labels(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable list of names: give one name a line.") from (
            error
        )


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise InputError(f"--image-size {text} is not a size: give 224 or 512x768.")
    return int(match[1]), int(match[2] or match[1])


def _by(shape: "tuple[int | None, ...]") -> str:
    return "x".join(map(str, shape))


def _describe(trained: "Checkpoint") -> None:
    config = trained.config
    entry = f"entry {trained.entry}, " if trained.entry else ""
    typer.echo(f"{trained.path.name}: {entry}sha256 {trained.sha256[:16]}")
    typer.echo(
        f"{trained.architecture}: {_by(config.image_size)} pixels, {config.num_classes} classes, "
        f"depths {' '.join(map(str, config.depths))}, {config.num_slide_stages} slide stages"
    )
    for remark in trained.remarks:
        typer.echo(f"note: {remark}")


def _describe_parting(parting: "Parting") -> str:
    if parting.first_wrong is None:
        return f"layers: all {parting.layers} agree"
    after = f"; the last that agrees is {parting.last_right}" if parting.last_right else ""
    return f"layers: the first that disagrees is {parting.first_wrong}{after}"


def _print_certificate(certificate: "Certificate") -> None:
    from slide_deploy.console import stdout, table

    if not certificate.folded:
        typer.echo(f"fold: {certificate.status}")
        return
    grid = table(
        "Fold certificate",
        [
            ("layer", False),
            ("k", True),
            ("heads", True),
            ("branches", True),
            ("error, float64", True),
            ("after rounding", True),
            ("off a shift", True),
        ],
    )
    for layer in certificate.folded:
        grid.add_row(
            layer.name,
            str(layer.kernel_size),
            str(layer.num_heads),
            str(len(layer.branches)),
            f"{layer.error:.1e}",
            f"{layer.rounding:.1e}",
            f"{layer.shift_distance:.1e}" if layer.shift_distance else "0",
        )
    stdout().print(grid)
