"""Read a safetensors file; the numbers of each tensor are read on demand."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.errors import InputError

# Bytes. Ten thousand tensors take 2 MiB.
_LARGEST_HEADER = 16 << 20
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Read the names, shapes and metadata of a safetensors file.

    Raises:
        InputError: the file is not whole.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > _LARGEST_HEADER:
            raise InputError(
                f"{path} is not a whole safetensors file (its header is larger than any "
                f"checkpoint's): copy it again."
            )

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, "pt") as again:
                return again.get_tensor(name)

        return read

    try:
        with safe_open(path, "pt") as file:
            tensors = {}
            for name in file.keys():  # noqa: SIM118 - it is not a dict
                view = file.get_slice(name)
                dtype = _TYPES.get(view.get_dtype())
                shape = tuple(view.get_shape())
                unsupported = f"{view.get_dtype()} (compressed)" if dtype is None else ""
                load = None if dtype is None else reader(name)
                tensors[name] = StoredTensor(shape, dtype, load, unsupported)
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}): copy it again."
        ) from error
