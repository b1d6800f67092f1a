"""What every runtime answers to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Session:
    """A written file, loaded and ready to run.

    Args:
        runtime: what runs it, for example "onnxruntime".
        version: of the runtime's library.
        input_shape: of the image, (batch, channels, height, width); None where it is dynamic.
        run: images float32 in, logits float32 out.
    """

    runtime: str
    version: str
    input_shape: tuple[int | None, ...]
    run: Callable[[np.ndarray], np.ndarray]

    @property
    def dynamic_batch(self) -> bool:
        """Whether any number of images may be given at once."""
        return self.input_shape[0] is None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run images (n, channels, height, width), in parts where the batch is fixed."""
        if self.dynamic_batch or len(images) == self.input_shape[0]:
            return self.run(images)
        step = self.input_shape[0] or 1
        parts = [self.run(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate(parts)
