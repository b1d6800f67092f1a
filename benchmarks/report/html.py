"""The report as one HTML page that works offline: it contains styles, data and plotly.

Its content security policy forbids every connection, and every script except its own two, which it
lists by hash. Untrusted text could not run as a script even if escaping failed.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from benchmarks.record import Run
from benchmarks.report import notes, palette
from benchmarks.report.figures import figures
from benchmarks.report.headline import headlines
from benchmarks.report.machines import machines
from benchmarks.report.summary import Missing, RunView, Section, summarise
from benchmarks.report.table import absences, columns, settings
from benchmarks.report.text import Name, clean


def render_html(runs: Sequence[Run]) -> str:
    """Return the report of one or more runs as an HTML document."""
    import jinja2
    from plotly.offline import get_plotlyjs

    sections = summarise(runs)
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"clean": clean, "breakable": _breakable}
    environment.tests["name"] = lambda part: isinstance(part, Name)
    scripts = [_script(get_plotlyjs()), _script(_asset("page.js"))] if sections else []
    return environment.from_string(_asset("page.html.j2")).render(
        title=_title(sections),
        together=machines(sections),
        sections=[(section, list(map(_view, section.views))) for section in sections],
        palette=palette,
        style=_asset("page.css"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        dark_colours=_json(palette.to_dark()),
        settings=settings,
        notes=notes,
    )


def _breakable(text: str) -> Any:
    """Escape a name and allow line breaks after its separators."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/:])(?=.)", clean(text)))


def _title(sections: Sequence[Section]) -> str:
    machines = [section.title for section in sections]
    if len(machines) == 1:
        return f"Benchmark on {clean(machines[0])}"
    return f"Benchmark on {len(machines)} machines" if machines else "Benchmark without runs"


def _view(view: RunView) -> dict[str, Any]:
    """Return the template's variables for one run."""
    return {
        "view": view,
        "headlines": tuple(headlines(view)),
        "columns": columns(view),
        "absences": absences(view),
        "shares": any(not isinstance(row.share, Missing) for row in view.rows),
        "figures": [(figure, _json(figure.spec)) for figure in figures(view)],
    }


def _asset(name: str) -> str:
    return resources.files("benchmarks.report").joinpath(name).read_text("utf-8")


def _script(code: str) -> str:
    """Return a script as a browser parses it from a page, which is the text that it hashes."""
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    # These occur only in strings and patterns, where the escaped form means the same.
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _json(content: Any) -> str:
    """Return strict JSON without characters that could end its script element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
