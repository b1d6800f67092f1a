"""The page's resources by address: what a server sends, and what a bundle holds."""

import json
from pathlib import Path

from benchmarks.web.plan import PagePlan
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.session import PAGE as SHARED
from slide_deploy.backends.web.site import Resource

PAGE = Path(__file__).parent / "page"
# What a worker runs, in an order in which each module stands behind those that it takes from.
WORKER = (
    *("process.js", "tensors.js", "timing.js", "session.js"),
    *("draws.js", "references.js", "candidate_worker.js"),
)
# What the page itself runs, likewise.
FACE = (
    *("process.js", "tensors.js", "timing.js", "session.js", "draws.js"),
    *("race.js", "elements.js", "figures.js", "plot.js", "facts.js", "result.js", "source.js"),
    "main.js",
)


def resources(plan: PagePlan, post: str | None = None) -> dict[str, Resource]:
    """Everything that the page asks for, by address.

    Args:
        plan: what it measures.
        post: address that the result goes to; None for a page that nobody waits for.
    """
    folder = assets.require()
    document = plan.document | {"post": post}
    names = {name for device in plan.devices for name in assets.runtime_files(device)}
    if "webgpu" in plan.devices or "webnn" in plan.devices:
        names |= set(assets.WASM)  # which stands in where the device is missing
    found: dict[str, Resource] = {
        "index.html": PAGE / "index.html",
        "page.css": PAGE / "page.css",
        "plan.json": json.dumps(document).encode(),
        "runtime/" + assets.LICENCE: folder / assets.LICENCE,
    }
    found |= {name: script(name) for name in {*WORKER, *FACE}}
    found |= {"runtime/" + name: folder / name for name in sorted(names)}
    return found | dict(plan.files)


def script(name: str) -> Path:
    """Where a module of the page lies."""
    own = PAGE / name
    return own if own.is_file() else SHARED / name
