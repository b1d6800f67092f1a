"""A trained network as something that is evaluated like a file, by PyTorch in float32."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from slide_deploy.deployable.record import Deployable, run
from slide_deploy.errors import InputError
from slide_deploy.evaluation.classifier import Classifier
from slide_deploy.images.description import read_description
from slide_deploy.images.preprocessing import image_input
from slide_deploy.runtimes import ImageSession, Port, Session
from slide_deploy.runtimes.base import Feeds
from slide_deploy.torch_defaults import torch_defaults


def trained_classifier(
    deployable: Deployable, output: str | None = None, files: Sequence[Classifier] = ()
) -> Classifier:
    """A network that takes one colour picture.

    Args:
        deployable: the network; it is left as it is.
        output: to read; the one that holds classes if left out.
        files: written from it. What the first of them says of the means and deviations of training
            holds for the network, which cannot say it.

    Raises:
        InputError: if it takes anything else.
    """
    name = deployable.origin.name
    taken = [f"{each.name} ({'x'.join(map(str, each.shape))})" for each in deployable.inputs]
    if len(taken) != 1 or len(deployable.inputs[0].example.shape) != 4:
        raise InputError(
            f"{name} takes {', '.join(taken)}: evaluate needs a network that takes one picture."
        )
    (image,) = deployable.inputs
    # Its batch may be open; its sides are those of the example, at which it was trained.
    shape: tuple[int | None, ...] = (
        None if 0 in image.open else image.example.shape[0],
        *image.example.shape[1:],
    )
    network = deployable.network()

    @torch_defaults()
    def answers(feeds: Feeds) -> list[np.ndarray]:
        given = run(network, [np.ascontiguousarray(feeds[image.name])])
        return [np.asarray(value.float()) for value in given]

    port = Port(image.name, shape, str(image.example.dtype))
    session = Session("torch", torch.__version__, (port,), tuple(deployable.outputs), answers)
    file = ImageSession(session, port)
    try:
        prepared = image_input(file)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    for each in files:
        described = read_description(each.file.session.metadata)
        if described is not None:
            mean, deviation = described.mean, described.deviation
            prepared = replace(prepared, mean=mean, deviation=deviation)
            break
    return Classifier(Path(name).name, deployable.origin.sha256, file, prepared, output)
