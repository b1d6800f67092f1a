"""The commands that say what there is: models and doctor."""

import typer

from slide_deploy.cli.options import JsonOption


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


def doctor(as_json: JsonOption = False) -> None:
    """Say which runtimes and libraries are here, and why one is missing."""
    from benchmarks.targets.registry import TARGETS
    from slide_deploy.console import findings_table, stdout
    from slide_deploy.doctor import Finding, examine

    found = [(target.name, target.find()) for target in TARGETS]
    findings = (
        *examine(),
        *(Finding(name, each.present, each.detail, "targets of bench") for name, each in found),
    )
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        stdout().print(findings_table(findings))
