"""Write the patterns of a map in every format, run them everywhere, compare with float64."""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from exporters.base import Exporter, ExportRequest, exporter_for
from slide_deploy.backends import Session, open_file
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.folding.model import reparameterize
from slide_deploy.formats import known_formats
from slide_deploy.lowerings import (
    DEFAULT_LOWERING,
    FORMS,
    Lowering,
    lower,
)
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.verification.parity import FLOAT32_LIMIT, Agreement, compare
from tests.runtime_bugs.patterns import Map, Parts
from tests.support import FORMATS, image_request

Run = Callable[[np.ndarray], np.ndarray]

MAPS = (
    Map(1, 1, 4),
    Map(2, 2, 4),
    Map(3, 3, 9),  # positions = channels = offsets
    Map(4, 4, 16),  # positions = channels; as many windows as positions in a window
    Map(4, 8, 8),  # windows = channels
    Map(3, 3, 81),
    Map(5, 5, 25, kernel=5),
    Map(8, 8, 64),
    Map(9, 9, 9),
)


@dataclass(frozen=True)
class Outcome:
    """How one part was answered.

    Attributes:
        map: the tokens that it took.
        part: which pattern, of how many heads, in which form.
        runtime: what ran it, and what of the batch it knew.
        batch: how many maps it took.
        agreement: with float64.
    """

    map: Map
    part: str
    runtime: str
    batch: int
    agreement: Agreement

    @property
    def right(self) -> bool:
        """Whether the answer is within what float32 may be off."""
        return self.agreement.within(FLOAT32_LIMIT)

    def __str__(self) -> str:
        figures = f"max rel {self.agreement.max_relative:.0e}, SNR {self.agreement.snr_db:.0f} dB"
        return f"{self.map} batch {self.batch}, {self.runtime}: {self.part}: {figures}"


# Core AI's runtime takes minutes for a map with an open batch, and LiteRT's converter seconds for
# any: only ``make runtime-bugs`` asks them.
EXPORTERS = tuple(exporter_for(name) for name in FORMATS)
EVERY_EXPORTER = tuple(exporter_for(each.name) for each in known_formats())
# What has no open batch.
CLOSED = ("litert",)


def sweep(map: Map, trained: Parts, exporters: Sequence[Exporter] = EXPORTERS) -> Iterator[Outcome]:
    """Parts of a map in every format on all runtimes, with a fixed and with an open batch."""
    written = written_parts(trained)
    for open_batch in (False, True):
        able = [each for each in exporters if not (open_batch and each.format in CLOSED)]
        yield from run_everywhere(map, trained, written, open_batch, able)


def written_parts(trained: Parts) -> dict[str, tuple[str, nn.Module]]:
    """Every part as it is exported, slide attentions once a form, with the trained part's name."""
    folded, _ = reparameterize(trained)
    written: dict[str, tuple[str, nn.Module]] = {}
    for name, part in folded.parts.items():
        if isinstance(part, FoldedSlideAttention):
            for lowering in _lowerings(name, part):
                written[f"{name}, {lowering}"] = name, lower(part, lowering)
        else:
            written[name] = name, lower(part)
    return written


def _lowerings(name: str, part: FoldedSlideAttention) -> Iterator[Lowering]:
    """Every form for every number of heads, and once in strips; other variants have no patterns
    of their own.
    """
    assert part.resolution is not None
    if "heads" in name:
        yield from map(Lowering, FORMS)
    elif name == "slide shared qkv":
        yield from (Lowering(form, min(2, part.resolution[0])) for form in FORMS)
    else:
        yield DEFAULT_LOWERING


def run_everywhere(
    map: Map,
    trained: Parts,
    written: Mapping[str, tuple[str, nn.Module]],
    open_batch: bool,
    exporters: Sequence[Exporter] = EXPORTERS,
) -> Iterator[Outcome]:
    """The same parts in every file and on every runtime."""
    model = Parts({name: part for name, (_, part) in written.items()}).eval()
    batches = sorted({map.width, map.channels}) if open_batch else [1]
    with tempfile.TemporaryDirectory() as folder:
        files = write(model, (map.positions, map.channels), Path(folder), open_batch, exporters)
        for batch in batches:
            tokens = torch.from_numpy(tokens_of(map, batch))
            expected = {name: reference(part, tokens) for name, part in trained.parts.items()}
            for runtime, run in runners(files, batch if open_batch else None):
                answer, start = run(tokens.numpy()), 0
                for name, (source, _) in written.items():
                    end = start + expected[source].shape[1]
                    agreement = compare(answer[:, start:end], expected[source])
                    yield Outcome(map, name, runtime, batch, agreement)
                    start = end
                assert start == answer.shape[1]


def tokens_of(map: Map, batch: int) -> np.ndarray:
    random = np.random.default_rng(batch)
    return random.standard_normal((batch, map.positions, map.channels)).astype(np.float32)


def reference(part: nn.Module, tokens: torch.Tensor) -> np.ndarray:
    """(batch, answer) of a trained part, in float64."""
    with torch.no_grad():
        return copy.deepcopy(part).double()(tokens.double()).flatten(1).numpy()


def write(
    model: nn.Module,
    shape: tuple[int, ...],
    folder: Path,
    open_batch: bool,
    exporters: Sequence[Exporter],
) -> dict[str, Path]:
    """One file a format, by our own exporters: they do not ask that an image has rank 4."""
    traces = image_request(model, shape, open_batch).traces
    files = {exporter.format: folder / f"parts{exporter.suffix}" for exporter in exporters}
    for exporter in exporters:
        exporter.write(ExportRequest(traces, {}, passes=exporter.passes()), files[exporter.format])
    return files


def only_output(session: Session) -> Run:
    (port,), (output,) = session.inputs, session.outputs
    return lambda tokens: session({port.name: tokens})[output]


def runners(files: Mapping[str, Path], fix: int | None) -> Iterator[tuple[str, Run]]:
    """What runs the files; where ``fix`` is given, also with the open batch fixed on loading.

    A runtime that knows the batch chooses other kernels and fusions than one that does not.
    """
    for file in files.values():
        session = open_file(file)
        yield session.runtime, only_output(session)
    yield "openvino on the ONNX file", openvino_fixed(files["onnx"], None)
    if fix is not None:
        yield "onnxruntime, batch fixed", onnxruntime_fixed(files["onnx"], fix)
        if "openvino" in files:
            yield "openvino, batch fixed", openvino_fixed(files["openvino"], fix)


def onnxruntime_fixed(path: Path, batch: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name(BATCH_NAME, batch)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda tokens: np.asarray(session.run(None, {"image": tokens})[0])


def openvino_fixed(path: Path, batch: int | None) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if batch is not None:
        model.reshape([batch, *list(model.input(0).partial_shape)[1:]])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda tokens: np.array(compiled([tokens])[0])
