"""Files with a single slide attention, which are raced to find its fastest form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from exporters.base import ExportRequest, Traces, exporter_for
from exporters.quantisation.making import write
from exporters.quantisation.noise import noise
from slide_deploy.backends import open_file
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.network import NetworkCall
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.lowerings import Chooser, Lowering, lower
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.precisions import precision_named
from slide_deploy.verification.cases import example_case, verification_cases
from slide_deploy.verification.reference_outputs.making import interface_of, store_reference
from slide_deploy.verification.trained_outputs import trained_outputs
from slide_deploy.verification.verify import verify_session


class Alone(nn.Module):
    """A network that consists of one attention.

    Input and output have the same shape: (batch, channels, height, width) for the layout "nchw",
    and (batch, height, width, channels) for "tokens". The tokens are a view of that input, so the
    file has no transposes that a whole network would not have.

    Args:
        attention: a folded or lowered attention.
        layout: layout of the attention, "nchw" or "tokens".
    """

    def __init__(self, attention: nn.Module, layout: str) -> None:
        super().__init__()
        self.attention = attention
        self.layout = layout

    def forward(self, image: Tensor) -> Tensor:
        """Apply the attention to a feature map; the output has the same shape."""
        out: Tensor
        if self.layout == "nchw":  # the module also returns two empty results for its host models
            out = self.attention(image)[0]
            return out
        out = self.attention(image.flatten(1, 2))
        return out.reshape(image.shape)


def deployable_attention(
    folded: FoldedSlideAttention, map_size: tuple[int, int], dynamic_batch: bool = False
) -> Deployable:
    """Return a network with one input that consists of an attention.

    Args:
        folded: the attention.
        map_size: height and width of its feature map.
        dynamic_batch: leave the batch size open.
    """
    channels, (height, width) = folded.config.dim, map_size
    shape = (channels, height, width) if folded.layout == "nchw" else (height, width, channels)
    image = np.zeros((1, *shape), np.float32)
    return Deployable(
        model=Alone(folded, folded.layout).eval(),
        inputs=(Input("image", image, {0: BATCH_NAME} if dynamic_batch else {}),),
        outputs=("logits",),
        call=NetworkCall.of_one_tensor(),
        origin=Origin("attention", "attention", "", "slide_attention"),
    )


def attention_traces(
    folded: FoldedSlideAttention,
    map_size: tuple[int, int],
    lowering: Lowering | Chooser,
    dynamic_batch: bool = False,
) -> Traces:
    """Return an attention in a lowered form, ready for tracing.

    Raises:
        InputError: if the form cannot express the attention.
    """
    whole = deployable_attention(folded, map_size, dynamic_batch)
    lowered = Alone(lower(folded, lowering), folded.layout).eval()
    return Traces(replace(whole, model=lowered))


class AttentionFiles:
    """Writes files of one attention in any form and format, and verifies each of them.

    Args:
        folded: the attention.
        map_size: height and width of its feature map.
        precision: precision of the files.
        folder: folder to write into.
    """

    def __init__(
        self,
        folded: FoldedSlideAttention,
        map_size: tuple[int, int],
        precision: str,
        folder: Path,
    ) -> None:
        self._folded = folded
        self._map_size = map_size
        self._precision = precision
        self._folder = folder
        whole = deployable_attention(folded, map_size)
        self._whole = whole
        record = precision_named(precision)
        self._calibration = noise(whole) if record.is_calibrated else None
        self._cases = (
            verification_cases(whole.inputs)
            if self._calibration is None
            else (example_case("noise", self._calibration.held_back),)
        )
        self._references = trained_outputs(whole, self._cases).outputs
        # Tracing takes a third of the time: once for all formats.
        self._traces: dict[Lowering, Traces] = {}

    def write(self, lowering: Lowering, format: str) -> Path:
        """Write a file and verify it against the folded attention in float64.

        Raises:
            InputError: if the file cannot be written, does not run or disagrees.
        """
        exporter = exporter_for(format)
        exporter.require(self._precision)
        if lowering not in self._traces:
            self._traces[lowering] = attention_traces(self._folded, self._map_size, lowering)
        traces = self._traces[lowering]
        (path, *_) = exporter.paths(self._folder / str(lowering).replace("/", "-"))
        request = ExportRequest(traces, {}, self._precision, exporter.passes(self._precision))
        write(exporter, request, path, self._cases, self._calibration)
        self._prove(path)
        return path

    def _prove(self, path: Path) -> None:
        session = open_file(path, self._precision)
        precision = precision_named(self._precision)
        verification = verify_session(
            session, self._whole, self._cases, self._references, precision
        )
        for case in verification.cases:
            if not case.agreement.within(precision.limit):
                raise InputError(
                    f"{path.name} disagrees with the folded attention on {case.name} "
                    f"({case.agreement.snr_db:.0f} dB on {session.runtime} {session.version})."
                )
        # With these outputs the race verifies the file again, on the device that it runs on.
        store_reference(
            path,
            model_digest(path),
            interface_of(session),
            self._whole,
            self._cases,
            self._references,
            self._precision,
        )
