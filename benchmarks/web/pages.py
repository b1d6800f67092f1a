"""Resources of the page by address, for a server or a bundle."""

import json
from pathlib import Path

from benchmarks.web.plan import PagePlan
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.session import PAGE as SHARED
from slide_deploy.backends.web.site import Resource

PAGE = Path(__file__).parent / "page"
# Modules of a worker. Each comes after those that it imports.
WORKER = (
    *("process.js", "tensors.js", "timing.js", "session.js"),
    *("draws.js", "references.js", "candidate_worker.js"),
)
# Modules of the page itself, in the same order.
FACE = (
    *("process.js", "tensors.js", "timing.js", "session.js", "draws.js"),
    *("race.js", "elements.js", "figures.js", "plot.js", "facts.js", "result.js", "source.js"),
    "main.js",
)


def resources(plan: PagePlan, post: str | None = None) -> dict[str, Resource]:
    """Return everything that the page requests, by address.

    Args:
        plan: Plan of the page.
        post: Address for the result; None if no command waits for it.
    """
    folder = assets.require()
    document = plan.document | {"post": post}
    names = {name for device in plan.devices for name in assets.runtime_files(device)}
    if "webgpu" in plan.devices or "webnn" in plan.devices:
        names |= set(assets.WASM)  # the fallback if the device is missing
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
    """Return the path of a module of the page."""
    own = PAGE / name
    return own if own.is_file() else SHARED / name
