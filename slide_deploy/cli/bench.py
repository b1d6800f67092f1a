"""The command ``bench``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.candidates import suite_members, sweep_of
from slide_deploy.cli.completion import ARITHMETIC, one_of, targets
from slide_deploy.cli.options import JsonOption, QuietOption, ShapeOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.results import (
    AccuracyOption,
    HtmlOption,
    MarkdownOption,
    ratio_cells,
    show,
    write,
)
from slide_deploy.cli.web import Elsewhere
from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_share
from slide_deploy.tasks.options import require_bench
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from benchmarks.measuring.race import RacePlan
    from benchmarks.record import Candidate, Run


def bench(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Model files.", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Runtime and device, as doctor lists them; repeat for several. Default: those "
            "that are installed.",
            metavar="RUNTIME:DEVICE",
            autocompletion=targets,
        ),
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(help="Candidates, targets and sizes.", metavar="TOML")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of measuring for each candidate.")
    ] = 10.0,
    rounds: Annotated[
        int, typer.Option(min=6, help="Rounds: how many turns each candidate gets.")
    ] = 20,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images in a call. Repeat for several sizes.")
    ] = None,
    streams: Annotated[
        list[int] | None, typer.Option(min=1, help="Calls in flight. Repeat for several numbers.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one call. Default: all cores.")
    ] = None,
    pin: Annotated[
        str | None, typer.Option(help="Processor cores to stay on: 0,1 or 0-3.", metavar="LIST")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="To compute in: float32, float16, bfloat16, or default: the runtime's choice. "
            "By default what each file claims to be made for on that target.",
            autocompletion=one_of(ARITHMETIC),
        ),
    ] = None,
    shape: ShapeOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="Option of the runtime, under its own name. Repeat for several.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time each operator too, if the runtime can.")
    ] = False,
    sustained: Annotated[
        float,
        typer.Option(
            min=0, help="Then run so many seconds without rest, to see whether it throttles."
        ),
    ] = 0.0,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="First measure the noise of this machine, and remember it."
        ),
    ] = False,
    fail_above: Annotated[
        str | None,
        typer.Option(
            help="Exit with code 1 if a candidate is slower than the first by more than this.",
            metavar="5%",
        ),
    ] = None,
    accuracy: AccuracyOption = None,
    json_to: JsonOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Do not measure: pack everything for another device.", metavar="ZIP"),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Measure in a browser: of this machine, or of a phone.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address that --web serves at: 0.0.0.0 for the network. Default: this machine."
        ),
    ] = None,
    web_bundle: Annotated[
        Path | None,
        typer.Option(help="Do not measure: write the page as static files.", metavar="DIR"),
    ] = None,
    adb: Annotated[
        bool, typer.Option("--adb", help="Measure in the browser of an Android phone on a cable.")
    ] = False,
    adb_serial: Annotated[
        str | None,
        typer.Option(help="Serial number of the phone. Default: the only one.", metavar="SERIAL"),
    ] = None,
    adb_binary: Annotated[
        Path | None,
        typer.Option(help="LiteRT's benchmark_model, to measure natively there.", metavar="PATH"),
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for the files that a suite exports.")] = Path(
        "build/bench"
    ),
    quiet: QuietOption = False,
) -> None:
    """Measure files against each other, each in a process of its own, in random turns.

    Figures have intervals, and warnings where they are doubtful. Ratios are relative to the first
    candidate, round by round, so that a drifting machine speed cancels out.
    """
    if precision is not None and precision not in ARITHMETIC:
        raise InputError(
            f"--precision {precision} is unknown: give one of {', '.join(ARITHMETIC)}."
        )
    require_bench()
    elsewhere = Elsewhere(web, host, web_bundle, adb, adb_serial, adb_binary)
    elsewhere.refuse(
        {
            **{"--suite": suite, "--streams": streams, "--pin": pin, "--option": option},
            **{"--precision": precision, "--calibrate": calibrate, "--profile": profile},
            **{"--sustained": sustained, "--bundle": bundle},
        }
    )
    places = {"--json": json_to, "--html": html, "--markdown": markdown, "--bundle": bundle}
    read = [*(files or []), *([suite] if suite else []), *(accuracy or [])]
    outputs = Outputs(places, quiet, read)
    limit = None if fail_above is None else parse_share(fail_above, "--fail-above")
    packed = {"--bundle": bundle, "--web-bundle": web_bundle}
    for packs in (each for each, place in packed.items() if place is not None):
        _refuse_with_bundle(
            packs, {**places, "--fail-above": fail_above, "--calibrate": calibrate or None}
        )
    from dataclasses import replace

    from benchmarks.artifact import describe_artifact
    from benchmarks.calibration import stored_noise
    from benchmarks.candidates import candidates
    from benchmarks.compare import require_comparable
    from benchmarks.evaluated import read_accuracies, require_use, stated
    from benchmarks.measuring.race import RacePlan, race
    from benchmarks.result import encode
    from benchmarks.suite import Member
    from slide_deploy.terminal.progress import Steps

    shares = read_accuracies(accuracy or ())
    sweep = sweep_of(target, batch, streams, threads, pin, precision, shape, option)
    if files and elsewhere.is_chosen:
        members = tuple(map(Member, elsewhere.candidates(files, target, batch, shape)))
    elif suite is not None and not files:
        members = suite_members(suite, work, sweep, outputs.quiet, gated=limit is not None)
    elif files and suite is None:
        members = tuple(map(Member, candidates(files, sweep)))
    else:
        raise InputError("Give either files to measure or a --suite.")
    found = tuple(member.candidate for member in members)
    if limit is not None:
        require_comparable(found)
    if calibrate:
        from benchmarks.calibration import require_noise_store

        require_noise_store()
    artifacts = {
        each.candidate.name: stated(
            each.stated_of(describe_artifact(Path(each.candidate.path))), shares
        )
        for each in members
    }
    require_use(shares, artifacts.values())
    plan = RacePlan(
        found,
        artifacts,
        seconds=seconds,
        rounds=rounds,
        sustained=sustained,
        profile=profile,
        limits=max(each.configuration.threads for each in found),
    )
    if bundle is not None:
        from benchmarks.bundle import write_bundle

        write_bundle(plan, bundle)
        if not outputs.quiet:
            echo(f"written: {bundle}")
        return
    if web_bundle is not None:
        for page in elsewhere.write(plan, threads):
            echo(f"written: {page}")
        return
    if calibrate:
        _calibrate(plan, outputs.quiet)
    if elsewhere.measures:
        run = elsewhere.run(plan, threads, outputs.quiet)
    else:
        with Steps(outputs.quiet, plan.steps) as step:
            measured = race(plan, step)
        run = replace(measured, noise=stored_noise([each.target for each in found]))
    if run.interrupted and not any(each.rounds for each in run.measurements):
        raise KeyboardInterrupt  # do not replace an older result by one without figures
    # Written before anything is printed: a closed terminal must not lose the measurements.
    outputs.write("--json", lambda: encode(run, json_to or Path("-")))
    write([run], outputs)
    show([run], outputs.quiet)
    closed = limit is not None and not run.interrupted and _gate(run, limit, outputs.quiet)
    outputs.finish(run.interrupted)
    if run.interrupted:
        echo("note: the measurements so far are kept.", err=True)
        raise KeyboardInterrupt
    errors = any(each.error for each in run.measurements)
    raise typer.Exit(1 if closed or errors else 0)


def _refuse_with_bundle(packs: str, options: Mapping[str, object]) -> None:
    """Refuse options of measuring beside a bundle, which would ignore them."""
    for option, value in options.items():
        if value is not None and option != packs:
            raise InputError(f"{packs} only packs files and measures nothing: leave out {option}.")


def _calibrate(plan: "RacePlan", quiet: bool) -> None:
    """Measure and store the noise of each target in the plan, with its first candidate."""
    from benchmarks.calibration import COPIES, calibrate, store_noise
    from slide_deploy.terminal.progress import Steps

    first: dict[str, Candidate] = {}
    for each in plan.candidates:
        first.setdefault(each.target, each)
    for target, candidate in first.items():
        with Steps(quiet, COPIES + plan.rounds) as step:
            noise = calibrate(candidate, plan, step)
        store_noise(target, noise)
        if not quiet:
            echo(
                f"{target}: 95 % of the ratios of equal candidates are within {noise - 1:.1%}; a "
                f"gate below that would fail by chance"
            )


def _gate(run: "Run", fail_above: float, quiet: bool) -> bool:
    from rich.markup import escape

    from benchmarks.compare import failed, gate, nothing_compared
    from slide_deploy.terminal.console import figures, stdout, table, texts

    gated = gate(run, fail_above)
    if not quiet:
        first = run.measurements[0].candidate.name
        known = "" if run.noise is None else f", noise of this machine {run.noise - 1:.1%}"
        grid = table(
            f"Gate: at most {fail_above:.1%} slower than {first}{known}",
            [*texts("candidate"), *figures("ratio", "95 %"), *texts("")],
            ((escape(each.name), *ratio_cells(each.ratio), each.verdict.value) for each in gated),
        )
        stdout().print(grid)
    if nothing_compared(gated):
        raise InputError(
            "--fail-above has nothing to compare: no candidate has enough rounds together with the "
            "first one; measure for longer."
        )
    return failed(gated)
