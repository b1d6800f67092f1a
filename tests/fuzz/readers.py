"""Every reader of files that strangers make, one entry each. A new reader is one more entry.

``python -m tests.fuzz`` runs them all; ``test_readers.py`` holds that none is missing.
"""

import hashlib
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slide_deploy.errors import InputError
from slide_deploy.formats import format_names
from tests.fuzz import changes, seeds
from tests.fuzz.changes import BYTES, JSON, NAMES, TEXT, Change


@dataclass(frozen=True)
class Reader:
    """One way into the product for a file.

    Attributes:
        name: on the command line and in the table.
        seed: writes a valid input into an empty folder.
        read: what the product does with it, given what the user names; an ``InputError`` refuses.
        main: what the user names, inside the folder; empty where each part is an input of its own.
        parts: files that are damaged, more often those that stand here more often. A pattern
            names all files that match.
        changes: how they are damaged.
        before: what whoever damages a file on purpose does as well, given what the user names.
        runs: whether a foreign runtime executes what was read, which may take memory and threads.
        needs: the library without which there is nothing to try.
    """

    name: str
    seed: Callable[[Path], None]
    read: Callable[[Path], object]
    main: str
    parts: tuple[str, ...]
    changes: tuple[Change, ...]
    before: Callable[[Path], None] | None = None
    runs: bool = False
    needs: str = ""

    def parts_of(self, folder: Path) -> list[Path]:
        """The files that are damaged, in a folder that ``seed`` has filled."""
        return [path for part in self.parts for path in sorted(folder.glob(part)) if path.is_file()]

    def named(self, folder: Path, part: Path) -> Path:
        """What the user names."""
        return folder / self.main if self.main else part

    def damage(self, rng: random.Random, content: bytes) -> bytes:
        """The content of a part, damaged in one way, sometimes in several."""
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            content = rng.choice(self.changes)(rng, content)
        return content


# What the product does with each kind of file. Imports are late: a child loads what it tries.


def _checkpoint(path: Path) -> None:
    from slide_deploy.hosts import load_checkpoint

    load_checkpoint(path)


def _checkpoint_of_known_size(path: Path) -> None:
    """Of files that do not tell the image size."""
    from slide_deploy.hosts import Overrides, load_checkpoint

    load_checkpoint(path, Overrides(image_size=(8, 8)))


def _graph(path: Path) -> None:
    from slide_deploy.files.companions import model_digest
    from slide_deploy.graph_checks import inspect, read_graph
    from slide_deploy.graph_checks.check import check_graph
    from slide_deploy.graph_checks.policy import policy_for

    try:
        graph = read_graph(path)
    except InputError as error:
        assert str(path) in str(error), error
        raise
    list(check_graph(graph, policy_for(graph.metadata)))
    inspect(graph)
    model_digest(path)


def _network_in_onnx(path: Path) -> None:
    """As ``fold`` does, until a file would be written."""
    from slide_deploy.onnx_network.deployable import deployable_onnx

    deployable_onnx(path)


def _onnx_networks(folder: Path) -> None:
    """As we write them, and as the older of PyTorch's exporters writes them."""
    seeds.from_corpus("onnx", folder)
    seeds.from_corpus("fold", folder)


def _hash_again(path: Path) -> None:
    """Let the hash of an asset be that of its program."""
    program = path / "main.mlirb"
    (path / "main.hash").write_bytes(hashlib.sha256(program.read_bytes()).digest())


def _asset(path: Path) -> None:
    """Our part of reading an asset; Apple's library has a process of its own."""
    from slide_deploy.saved.aimodel import open_asset
    from slide_deploy.saved.aimodel.bytecode import resources
    from slide_deploy.saved.untrusted import map_file

    asset = open_asset(path)
    content = map_file(path, asset.program)
    places = resources(path, content).values()
    assert all(0 <= start <= end <= len(content) for start, end in places)


def _run(path: Path) -> None:
    """Open a file, run it, ask for the values inside, and classify a picture."""
    from slide_deploy.backends import open_file, open_image_file, values_of
    from slide_deploy.images.prediction import predict

    session = open_file(path)
    feeds = {
        port.name: np.zeros([size or 1 for size in port.shape], np.float32)
        for port in session.inputs
    }
    session(feeds)
    values_of(path, feeds)
    predict(open_image_file(path), [_one_picture()], names=(), top=1)


@cache
def _one_picture() -> Path:
    """A picture that stays whole."""
    path = Path(tempfile.mkdtemp(prefix="slide-deploy-fuzz-")) / "picture.png"
    Image.new("RGB", (20, 20)).save(path)
    return path


def _policy(path: Path) -> None:
    from slide_deploy.graph_checks import load_policy

    load_policy(path)


def _suite(path: Path) -> None:
    from benchmarks.candidates import Sweep
    from benchmarks.suite import candidate_count, read_suite

    candidate_count(read_suite(path), Sweep(()))


def _tuning(path: Path) -> None:
    from slide_deploy.tuning.store import read_table

    read_table(path)


def _result(path: Path) -> None:
    """Read a result, and write what is made of it."""
    from benchmarks.report.markdown import render_markdown
    from benchmarks.report.summary import summarise
    from benchmarks.report.terminal import render_terminal
    from benchmarks.result import read
    from slide_deploy.terminal.console import as_text

    run = read(path)
    as_text(*render_terminal(summarise([run])[0].views[0]))
    render_markdown([run])


def _device_results(path: Path) -> None:
    from studies.devices.results import read_all

    read_all(path.parent)


def _page_result(path: Path) -> None:
    from benchmarks.web.acceptance import accepted

    accepted(path.read_bytes(), _page_plan())


@cache
def _page_plan() -> Any:
    from tests.benchmarks.web.visits import candidate, planned

    return planned([candidate(seeds.CORPUS / "onnx" / "seed.onnx")])


def _page_seed(folder: Path) -> None:
    document = _page_plan().document
    measurement = json.loads(json.dumps(document["candidates"][0]["measurement"]))
    measurement["rounds"] = [{"start": 1, "seconds": 0.5, "samples": [1000, 2000]}]
    measurement["runtime"] = {"library": "onnxruntime-web"}
    facts = {"started": "2026-01-01T00:00:00+00:00", "machine": {"system": "Phone"}}
    content = {**document["run"], **facts, "measurements": [measurement]}
    (folder / "seed.json").write_text(json.dumps(content))


def _evaluation(path: Path) -> None:
    from slide_deploy.evaluation.merging import merge
    from slide_deploy.evaluation.result_file import read
    from slide_deploy.evaluation.shown import evaluation_table
    from slide_deploy.terminal.console import as_text

    whole = merge({str(each): read(each) for each in sorted(path.parent.glob("*.json"))})
    as_text(evaluation_table(whole))


def _bench_plan(path: Path) -> None:
    from benchmarks.measuring.plan_file import read_plan

    read_plan(path)


def _files_record(path: Path) -> None:
    from studies.passes.record import read

    read(path.parent)


def _reference(path: Path) -> None:
    from slide_deploy.verification.reference_outputs.reference_file import read_reference

    read_reference(path)


def _manifest(path: Path) -> None:
    """Everybody who looks into the manifest beside a file."""
    from benchmarks.artifact import describe_artifact
    from exporters.manifest import entries_beside

    _reference(path)
    describe_artifact(path)
    source = json.loads((seeds.CORPUS / "reference/manifest.json").read_text())["source"]
    entries_beside(path.with_name("manifest.json"), source["sha256"], (), force=False)


def _manifest_seed(folder: Path) -> None:
    seeds.from_corpus("reference", folder)
    seeds.from_corpus("onnx", folder)


def _description(path: Path) -> None:
    from slide_deploy.images.description import IMAGE_KEY, read_description

    read_description({IMAGE_KEY: path.read_text("utf-8", "replace")})


def _labels(path: Path) -> None:
    from slide_deploy.images.labels import read_labels

    read_labels(path)


def _picture_table(path: Path) -> None:
    from slide_deploy.images.collection import read_collection

    read_collection(path)


def _picture(path: Path) -> None:
    from slide_deploy.images.collection import is_picture
    from slide_deploy.images.pictures import read_picture

    is_picture(path)
    read_picture(path)


@cache
def _deployable() -> Any:
    from torch import nn

    from tests.support import image_network

    return image_network(nn.Conv2d(3, 1, 1), (3, 2, 2))


def _calibration(path: Path) -> None:
    from exporters.outcome import ExportOptions
    from exporters.quantisation.calibration import read_calibration

    options = ExportOptions(("onnx",), path.parent / "out", precision="int8")
    read_calibration(path, _deployable(), options)


def _protobuf(message: Callable[[], Any]) -> Change:
    """Fields of a protobuf message are changed, so that it stays one and stops making sense."""

    def change(rng: random.Random, content: bytes) -> bytes:
        from google.protobuf.message import DecodeError

        from tests.fuzz.protobuf import alter

        try:
            held = message().FromString(content)
        except DecodeError:
            return changes.flip_bytes(rng, content)
        for _ in range(rng.choice((1, 2, 5))):
            alter(rng, held)
        return bytes(held.SerializeToString())

    return change


def _onnx_message() -> Any:
    from onnx import ModelProto

    return ModelProto


def _mlmodel_message() -> Any:
    from slide_deploy.saved.mlpackage.protobuf import model_messages

    return model_messages().Model


def _of(name: str) -> Callable[[Path], None]:
    return partial(seeds.from_corpus, name)


_ONNX = (_protobuf(_onnx_message),) * 8 + NAMES
_XML = (changes.xml_tree,) * 8 + NAMES
_MLMODEL = (_protobuf(_mlmodel_message),) * 8 + NAMES
_FLATBUFFER = (changes.another_length,) * 6 + NAMES
_ZIP = (changes.zip_members, changes.zip_members, changes.zip_fields, *BYTES)
_SAFETENSORS = (changes.safetensors_header,) * 6 + NAMES
_PACKAGE = "seed.mlpackage"
_PACKAGE_PARTS = (
    *(f"{_PACKAGE}/Data/com.apple.CoreML/model.mlmodel",) * 5,
    f"{_PACKAGE}/Data/com.apple.CoreML/weights/weight.bin",
    f"{_PACKAGE}/Manifest.json",
)
_ASSET_PARTS = ("seed.aimodel/main.mlirb",) * 3 + ("seed.aimodel/metadata.json",)
_IR = ("seed.xml",) * 6 + ("seed.bin",)

GRAPHS = (
    Reader("onnx", _of("onnx"), _graph, "seed.onnx", ("seed.onnx",), _ONNX),
    Reader("openvino", _of("openvino"), _graph, "seed.xml", _IR, _XML),
    Reader("coreml", _of("coreml"), _graph, _PACKAGE, _PACKAGE_PARTS, (*_MLMODEL, *JSON)),
    Reader("litert", _of("litert"), _graph, "seed.tflite", ("seed.tflite",), _FLATBUFFER),
    Reader("executorch", _of("executorch"), _graph, "seed.pte", ("seed.pte",), _FLATBUFFER),
    Reader(
        *("coreai", _of("coreai"), _asset, "seed.aimodel"),
        *(_ASSET_PARTS, (*NAMES, changes.json_tree), _hash_again),
    ),
)

# The same files on the runtimes that run them here.
_RUNTIMES = ("onnxruntime", "openvino", "", "ai_edge_litert", "executorch", "coreai")
RUNS = tuple(
    replace(each, name=f"run {each.name}", read=_run, runs=True, needs=needs)
    for each, needs in zip(GRAPHS, _RUNTIMES, strict=True)
)

READERS = (
    Reader("torch", seeds.torch_file, _checkpoint, "seed.pth", ("seed.pth",), _ZIP),
    Reader(
        *("torch before 1.6", seeds.old_torch_file, _checkpoint, "seed.pth", ("seed.pth",)),
        (*(changes.pickle_operations,) * 6, *BYTES),
    ),
    Reader(
        *("pickle", seeds.pickle_file, _checkpoint, "seed.pkl", ("seed.pkl",)),
        (*(changes.pickle_operations,) * 6, *BYTES),
    ),
    Reader(
        *("safetensors", seeds.safetensors_file, _checkpoint, "seed.safetensors"),
        *(("seed.safetensors",), _SAFETENSORS),
    ),
    Reader(
        *("hub folder", seeds.hub_folder, _checkpoint_of_known_size, "", ("*.index.json",)),
        JSON,
    ),
    Reader(
        *("distributed folder", seeds.distributed_folder, _checkpoint_of_known_size, ".metadata"),
        (".metadata",) * 3 + ("*.distcp",),
        (*(changes.pickle_operations,) * 4, *_ZIP, *BYTES),
    ),
    *GRAPHS,
    *RUNS,
    Reader("fold onnx", _onnx_networks, _network_in_onnx, "", ("*.onnx",), _ONNX),
    Reader("policy", seeds.policy, _policy, "seed.toml", ("seed.toml",), TEXT),
    Reader("suite", seeds.suite, _suite, "seed.toml", ("seed.toml",), TEXT),
    Reader("tuning table", seeds.tuning_table, _tuning, "seed.json", ("seed.json",), JSON),
    Reader("result", seeds.result, _result, "seed.json", ("seed.json",), JSON),
    Reader("device result", seeds.device_results, _device_results, "seed.json", ("*.json",), JSON),
    Reader("page's result", _page_seed, _page_result, "seed.json", ("seed.json",), JSON),
    Reader("evaluation", seeds.evaluation, _evaluation, "1.json", ("*.json",), JSON),
    Reader("bundle's plan", seeds.bench_plan, _bench_plan, "plan.json", ("plan.json",), JSON),
    Reader("networks", seeds.network_files, _files_record, "files.json", ("*.json",), JSON),
    Reader(
        *("reference outputs", _of("reference"), _reference, "seed.onnx"),
        *(("seed.onnx.reference.safetensors",), _SAFETENSORS),
    ),
    Reader("manifest", _manifest_seed, _manifest, "seed.onnx", ("manifest.json",), JSON),
    Reader("image description", seeds.description, _description, "seed.json", ("*.json",), JSON),
    Reader("labels", seeds.labels, _labels, "seed.txt", ("seed.txt",), TEXT),
    Reader("picture table", seeds.picture_table, _picture_table, "seed.csv", ("seed.csv",), TEXT),
    Reader("picture", seeds.pictures, _picture, "", ("*",), (changes.png_chunks, *BYTES)),
    Reader("calibration", seeds.arrays, _calibration, "seed.npz", ("seed.npz",), _ZIP),
)


def reader_named(name: str) -> Reader:
    for each in READERS:
        if each.name == name:
            return each
    raise InputError(f"{name} is no reader: choose of {', '.join(each.name for each in READERS)}.")


assert [each.name for each in GRAPHS] == list(format_names())
