"""Create a ``Deployable`` from a checkpoint."""

import json

import numpy as np

from slide_deploy.checkpoint.read import CONFIG_KEY, RESIZED_KEY
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.network import NetworkCall
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.hosts.load import Checkpoint, settings_of

IMAGE = "image"


def deployable_checkpoint(
    checkpoint: Checkpoint, *, features: bool | None = False, dynamic_batch: bool = False
) -> Deployable:
    """Create a record of a checkpoint's network, which takes one image.

    Args:
        checkpoint: result of ``load_checkpoint``.
        features: output the feature maps of all stages instead of the logits; None: feature maps
            for a backbone, logits for a classifier.
        dynamic_batch: leave the batch open.

    Raises:
        InputError: if the network is a backbone, which has no logits, and ``features`` is False.
    """
    config = checkpoint.config
    if features or (features is None and not checkpoint.model.is_classifier):
        model = checkpoint.model.backbone()
    else:
        model = checkpoint.classifier()
    image = np.zeros((1, config.in_channels, *config.image_size), np.float32)
    origin = Origin(
        name=str(checkpoint.path),
        stem=checkpoint.stem,
        sha256=checkpoint.sha256,
        architecture=checkpoint.architecture,
        summary=_summary(checkpoint),
        remarks=checkpoint.remarks,
        facts={
            "file": checkpoint.path.name,
            "entry": checkpoint.entry,
            "settings": config,
            "trained_image_size": checkpoint.trained_size,
            "resized_position_tables": checkpoint.resized,
            "left_out": checkpoint.left_out,
        },
        metadata={
            "image_size": "x".join(map(str, config.image_size)),
            "resized_position_tables": " ".join(checkpoint.resized),
        },
        settings={
            CONFIG_KEY: json.dumps(settings_of(config)),
            RESIZED_KEY: " ".join(checkpoint.resized),
        },
    )
    return Deployable(
        model=model,
        inputs=(Input(IMAGE, image, {0: BATCH_NAME} if dynamic_batch else {}),),
        outputs=model.output_names,
        call=NetworkCall.of_one_tensor(len(model.output_names)),
        origin=origin,
        sizes={BATCH_NAME: (3,)} if dynamic_batch else {},
        takes_images=True,
        normalisation=checkpoint.normalisation,
    )


def _summary(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    height, width = config.image_size
    classes = f"{config.num_classes} classes" if config.num_classes else "no classifier"
    return (
        f"{checkpoint.architecture}: {height}x{width} pixels, {classes}, "
        f"{checkpoint.host.summary(config)}"
    )
