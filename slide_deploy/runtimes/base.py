"""What every runtime answers to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Session:
    """A written file, loaded and ready to run.

    Args:
        runtime: what runs it, for example "onnxruntime".
        version: of the runtime's library.
        input_shape: of the image, (batch, channels, height, width); None where it is dynamic.
        outputs: their names, in the order of the file.
        run: images of its type in, every output out, in the order of the names.
        input_dtype: of the image, as numpy spells it.
        pixels: whether it takes pixels from 0 to 255 whatever its type, as Core ML's images are.
    """

    runtime: str
    version: str
    input_shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    run: Callable[[np.ndarray], Sequence[np.ndarray]]
    input_dtype: str = "float32"
    pixels: bool = False

    @property
    def dynamic_batch(self) -> bool:
        """Whether any number of images may be given at once."""
        return self.input_shape[0] is None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classify images (n, channels, height, width), in parts where the batch is fixed.

        Raises:
            InputError: if the runtime refuses the images, or the first output is anything but one
                row of logits for each.
        """
        logits = next(iter(self.answers(images).values()))
        if logits.ndim != 2:
            raise InputError(
                f"The file answers {len(images)} images with the shape {logits.shape} on "
                f"{self.runtime}: expected a row of logits for each."
            )
        return logits

    def answers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run images (n, channels, height, width), in parts where the batch is fixed.

        Returns:
            Every output by its name, each with one entry for each image.

        Raises:
            InputError: if the runtime refuses the images, or answers with anything but one entry
                for each.
        """
        step = len(images) if self.dynamic_batch else self.input_shape[0] or 1
        parts = []
        for start in range(0, len(images), step):
            part = images[start : start + step]
            missing = step - len(part)  # a fixed batch is filled up, and cut again
            filled = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
            parts.append([output[: len(part)] for output in self._run_one(filled)])
        whole = [np.concatenate(output) for output in zip(*parts, strict=True)]
        return dict(zip(self.outputs, whole, strict=True))

    def answers_to_one(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every output for one image, as the file gives it; a fixed batch is filled with the image.

        Args:
            image: one image, its batch of 1 included.

        Raises:
            InputError: if the runtime refuses the image.
        """
        images = np.repeat(image, self.input_shape[0] or 1, axis=0)
        return dict(zip(self.outputs, self._run(images), strict=True))

    def _run_one(self, images: np.ndarray) -> Sequence[np.ndarray]:
        outputs = self._run(images)
        for output in outputs:
            if output.ndim < 1 or len(output) != len(images):
                raise InputError(
                    f"The file answers {len(images)} images with the shape {output.shape} on "
                    f"{self.runtime}: expected one entry for each."
                )
        return outputs

    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        if not np.can_cast(images.dtype, self.input_dtype, "same_kind"):
            raise InputError(
                f"The file takes {self.input_dtype} images and not {images.dtype} ones: give it "
                f"pictures, as slide-deploy predict does."
            )
        try:
            return self.run(images.astype(self.input_dtype, copy=False))
        except InputError:
            raise
        except Exception as error:  # every runtime has errors of its own
            reason = message_lines(error)[0]
            raise InputError(f"{self.runtime} could not run the file ({reason}).") from error


def message_lines(error: Exception) -> list[str]:
    """What a native library says, at least one line.

    It quotes names from the file. Where those are no UTF-8 its binding to Python raises
    ``UnicodeDecodeError`` in place of the error, and the message is what could not be decoded.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode("utf-8", "replace")
    return text.strip().splitlines() or [type(error).__name__]
