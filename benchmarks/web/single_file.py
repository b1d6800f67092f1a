"""Builds the page as one HTML file, which also runs from a disk, with one thread.

A page from a file may not load other files. So modules are joined, and everything else is embedded
as base64.
"""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.web.pages import FACE, PAGE, WORKER, script
from benchmarks.web.plan import PagePlan
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.site import Resource

# Phones cannot open larger pages. The runtime alone has 19 MB as base64.
MOST_MODEL_BYTES = 48 << 20
_IMPORT = re.compile(r"^import\s[^;]*?\sfrom\s+\"\./([\w.]+)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


def takes(plan: PagePlan) -> bool:
    """Return whether a plan's files are small enough and run on WebAssembly only."""
    return plan.devices == ("wasm",) and sum(map(_size, plan.files.values())) <= MOST_MODEL_BYTES


def single_file(plan: PagePlan) -> str:
    """Return the page for a plan that `takes` accepts."""
    folder = assets.require()
    library, binary = assets.WASM_INLINE, assets.WASM[2]
    names = {"library": folder / library, "binary": folder / binary, **plan.files}
    names |= {"worker": joined(WORKER).encode()}
    # In this page, the plan's addresses are ids of elements.
    document = plan.document | {"runtime": {"wasm": ["library", "binary"]}}
    held = [_script("plan", "application/json", json.dumps(document).replace("<", "\\u003c"))]
    held += [_script(name, "text/plain", _base64(each)) for name, each in names.items()]
    licence = (folder / assets.LICENCE).read_text(encoding="utf-8")
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    html = html.replace(
        '<link rel="stylesheet" href="page.css">', f"<style>\n{style}</style>\n<!--\n{licence}-->"
    )
    main = f'<script type="module">\n{joined(FACE, {"source.js": "inline_source.js"})}</script>'
    return html.replace('<script type="module" src="main.js"></script>', "\n".join([*held, main]))


def joined(names: Sequence[str], others: dict[str, str] | None = None) -> str:
    """Join modules, whose top-level names must be distinct.

    Args:
        names: Modules. Each comes after those that it imports.
        others: Replacements of modules, by name.

    Raises:
        ValueError: A module imports one that does not come before it.
    """
    parts: list[str] = []
    before: set[str] = set()
    for name in names:
        text = script((others or {}).get(name, name)).read_text(encoding="utf-8")
        lacking = set(_IMPORT.findall(text)) - before
        if lacking:
            raise ValueError(f"{name} imports {', '.join(sorted(lacking))}, which come after it")
        before.add(name)
        parts.append(_EXPORT.sub("", _IMPORT.sub("", text)))
    return "\n".join(parts).replace("</script", "<\\/script")


def _script(name: str, kind: str, content: str) -> str:
    """Return a script element with data. Its name is an address, which may contain any letters."""
    shown = name.replace("&", "&amp;").replace('"', "&quot;")
    return f'<script type="{kind}" id="{shown}">{content}</script>'


def _base64(resource: Resource) -> str:
    content = resource.read_bytes() if isinstance(resource, Path) else resource
    return base64.b64encode(content).decode()


def _size(resource: Resource) -> int:
    return len(resource) if isinstance(resource, bytes) else resource.stat().st_size
