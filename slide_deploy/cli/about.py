"""The commands ``models`` and ``doctor``."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from slide_deploy.cli.options import JsonOption
from slide_deploy.cli.outputs import Outputs

if TYPE_CHECKING:
    from slide_deploy.backends.doctor import Finding
    from slide_deploy.hosts.host import Architecture, Host


def models(json_to: JsonOption = None) -> None:
    """List the families and their published sizes; other settings are read from the file.

    Multiply-adds are those of one image of the published size, slide attentions folded.
    """
    from exporters.plain import to_json
    from slide_deploy.hosts.registry import known_hosts
    from slide_deploy.terminal.console import figures, stdout, table, texts

    outputs = Outputs({"--json": json_to})
    listed = [(each, _size(host, each)) for host in known_hosts() for each in host.published]
    outputs.write("--json", lambda: to_json([size for _, size in listed]))
    if not outputs.quiet:
        columns = figures("width", "depths", "heads", "parameters", "published", "GMACs")
        grid = table("", [*texts("architecture"), *columns, *figures("published")])
        for _, family in groupby(listed, key=lambda each: each[1]["family"]):
            for each, size in family:
                grid.add_row(
                    each.name,
                    str(size["widths"][0]),
                    " ".join(map(str, size["depths"])),
                    " ".join(map(str, size["heads"])),
                    f"{each.parameters:,}",
                    each.paper_parameters,
                    "" if each.gmacs is None else f"{each.gmacs:.2f}",
                    f"{each.paper_gflops or ''}",
                )
            grid.add_section()
        stdout().print(grid)
    outputs.finish()


def _size(host: "Host", size: "Architecture") -> dict[str, Any]:
    """Return a published size of a family as plain data."""
    config = size.config
    return {
        "architecture": size.name,
        "family": host.title,
        "image_size": list(config.image_size),
        "widths": [config.dim(stage) for stage in range(len(config.depths))],
        "depths": list(config.depths),
        "heads": list(config.num_heads),
        "parameters": size.parameters,
        "published_parameters": size.paper_parameters or None,
        "gmacs": size.gmacs,
        "published_gmacs": size.paper_gflops,
    }


def doctor(json_to: JsonOption = None) -> None:
    """Show which runtimes and libraries are installed, and why one is missing."""
    from exporters.plain import to_json
    from slide_deploy.backends.doctor import examine
    from slide_deploy.terminal.console import findings_table, stdout

    outputs = Outputs({"--json": json_to})
    findings = (*examine(), *_tuning())
    outputs.write("--json", lambda: to_json(findings))
    if not outputs.quiet:
        stdout().print(findings_table(findings))
    outputs.finish()


def _tuning() -> "list[Finding]":
    """Return a finding for each tuning table that ``export`` reads."""
    from slide_deploy.backends.doctor import Finding
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
