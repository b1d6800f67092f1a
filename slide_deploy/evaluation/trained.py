"""Evaluates a trained network like a file, with PyTorch in float32."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from slide_deploy.backends import ImageSession, Port, Session
from slide_deploy.backends.base import Feeds, FunctionStream
from slide_deploy.deployable.record import Deployable, run
from slide_deploy.errors import InputError
from slide_deploy.evaluation.classifier import Classifier
from slide_deploy.images.description import AS_TRAINED
from slide_deploy.images.preprocessing import image_input
from slide_deploy.process.torch_defaults import torch_defaults


def trained_classifier(deployable: Deployable, output: str | None = None) -> Classifier:
    """Wrap a network whose only input is a colour image.

    Args:
        deployable: the network; it is not changed.
        output: name of the output with the class scores; chosen automatically if None.

    Returns:
        A classifier that normalises images with the mean and standard deviation of the checkpoint,
        or those of ImageNet if it states none. A file's own metadata is not used, because it is
        part of what is evaluated.

    Raises:
        InputError: if the network takes anything else.
    """
    name = deployable.origin.name
    taken = [f"{each.name} ({'x'.join(map(str, each.shape))})" for each in deployable.inputs]
    if len(taken) != 1 or len(deployable.inputs[0].example.shape) != 4:
        raise InputError(
            f"{name} takes {', '.join(taken)}: evaluate needs a network with a single image input."
        )
    (image,) = deployable.inputs
    # The batch may be open. Height and width are those of the example input.
    shape: tuple[int | None, ...] = (
        None if 0 in image.open else image.example.shape[0],
        *image.example.shape[1:],
    )
    network = deployable.network()

    @torch_defaults()
    def outputs_for(feeds: Feeds) -> list[np.ndarray]:
        given = run(network, [np.ascontiguousarray(feeds[image.name])])
        return [np.asarray(value.float()) for value in given]

    port = Port(image.name, shape, str(image.example.dtype))
    outputs = tuple(deployable.outputs)
    session = Session(
        "torch", torch.__version__, (port,), outputs, lambda: FunctionStream(outputs_for)
    )
    file = ImageSession(session, port)
    try:
        prepared = image_input(file)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if deployable.normalisation is not None:
        known = AS_TRAINED.completed(len(prepared.mean), deployable.normalisation)
        assert known.mean is not None
        assert known.deviation is not None
        prepared = replace(prepared, mean=known.mean, deviation=known.deviation)
    return Classifier(Path(name).name, deployable.origin.sha256, file, prepared, output)
