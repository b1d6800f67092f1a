"""The commands that say what there is: models and doctor."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from slide_deploy.cli.options import JsonOption
from slide_deploy.cli.outputs import Outputs

if TYPE_CHECKING:
    from slide_deploy.doctor import Finding


def models() -> None:
    """List the published architectures; any other setting of them is read from the file."""
    from slide_deploy.console import stdout, table
    from slide_deploy.hosts.registry import known_hosts

    grid = table(
        "",
        [
            ("architecture", False),
            ("width", True),
            ("depths", True),
            ("heads", True),
            ("parameters", True),
            ("GFLOPs (paper)", True),
        ],
    )
    for architecture in (each for host in known_hosts() for each in host.published):
        config = architecture.config
        grid.add_row(
            architecture.name,
            str(config.dim(0)),
            " ".join(map(str, config.depths)),
            " ".join(map(str, config.num_heads)),
            f"{architecture.parameters:,}",
            f"{architecture.paper_gflops or ''}",
        )
    stdout().print(grid)


def doctor(json_to: JsonOption = None) -> None:
    """Say which runtimes and libraries are here, and why one is missing."""
    from slide_deploy.console import findings_table, stdout
    from slide_deploy.doctor import examine

    outputs = Outputs({"--json": json_to})
    findings = (*examine(), *_targets(), *_tuning())
    rows = [asdict(finding) for finding in findings]
    outputs.write("--json", lambda: json.dumps(rows, indent=2) + "\n")
    if not outputs.quiet:
        stdout().print(findings_table(findings))
    outputs.finish()


def _targets() -> "list[Finding]":
    """What bench could measure on here."""
    from slide_deploy.doctor import Finding

    try:
        from benchmarks.targets.registry import TARGETS
    except ImportError:  # another package of that name is in its place, as the doctor says itself
        return []
    found = [(target.name, target.find()) for target in TARGETS]
    return [Finding(name, each.present, each.detail, "targets of bench") for name, each in found]


def _tuning() -> "list[Finding]":
    """The tables that export chooses forms from."""
    from slide_deploy.doctor import Finding
    from slide_deploy.errors import InputError
    from slide_deploy.tuning.store import read_table, shipped_file, user_file

    findings = []
    for name, path in (("your own table", user_file()), ("shipped table", shipped_file())):
        if path is None or not path.exists():
            findings.append(Finding(name, None, "none: make one with slide-deploy tune", "tuning"))
            continue
        try:
            count = len(read_table(path).entries)
        except InputError as error:
            findings.append(Finding(name, False, str(error), "tuning"))
        else:
            findings.append(Finding(name, None, f"{path}, {count} entries", "tuning"))
    return findings
