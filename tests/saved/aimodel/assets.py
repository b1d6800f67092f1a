"""A small valid asset, and what damages copies of it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporters.base import exporter_for
from slide_deploy.lowerings import Lowering
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.saved.aimodel.folder import METADATA, PROGRAM
from tests.graph_checks.small_models import declared_request
from tests.shared import once
from tests.support import copied, random_swin

SHAPE = (3, 16, 16)


def model() -> SlideSwin:
    """Both kinds of attention, as small as it gets."""
    return random_swin(image_size=SHAPE[1:], depths=(1, 1), num_heads=(1, 2), num_slide_stages=1)


def valid_asset(open_batch: bool = False) -> Path:
    """Written once for all tests."""

    def write(folder: Path) -> Path:
        path = folder / "small.aimodel"
        request = declared_request(
            model(), SHAPE, Lowering("depthwise"), format="coreai", dynamic_batch=open_batch
        )
        exporter_for("coreai").write(request, path)
        return path

    return once(("asset", open_batch), write)


def hashed_again(asset: Path) -> None:
    """Let the hash be that of the program, as somebody would who damages it on purpose."""
    digest = hashlib.sha256((asset / PROGRAM).read_bytes()).digest()
    (asset / "main.hash").write_bytes(digest)


def with_bytes(folder: Path, change: Callable[[bytearray], object], name: str = PROGRAM) -> Path:
    """A copy with other bytes in one of its files; the hash is that of the program."""
    asset = copied(valid_asset(), folder)
    content = bytearray((asset / name).read_bytes())
    change(content)
    (asset / name).write_bytes(content)
    hashed_again(asset)
    return asset


def with_metadata(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy that says something else of itself."""
    asset = copied(valid_asset(), folder)
    held = json.loads((asset / METADATA).read_text())
    change(held)
    (asset / METADATA).write_text(json.dumps(held))
    return asset


def with_program(source: Path, folder: Path, edit: Callable[[Any, Any], object]) -> Path:
    """A copy whose program was edited, by Apple's own classes.

    Args:
        source: a valid asset.
        folder: of the copy.
        edit: gets the graph that runs, and MLIR's module of classes, inside its context.
    """
    from coreai._compiler import ir
    from coreai.authoring import AIModelAsset

    asset = copied(source, folder)
    metadata = (asset / METADATA).read_text()
    program = AIModelAsset.load(asset).program
    module = program._module._mlir_module
    graph = next(each for each in module.body.operations if "priv" not in each.attributes)
    with module.context, ir.Location.unknown():
        edit(graph, ir)
    program.save_asset(asset)
    (asset / METADATA).write_text(metadata)
    return asset


def operators(graph: Any, kind: str) -> list[Any]:
    """The operators of a kind in a graph, in order."""
    return [each for each in graph.regions[0].blocks[0].operations if each.name == f"coreai.{kind}"]
