"""The closed table of classes and functions that the pickle reader builds.

It covers tensors, their storages, plain containers and numpy arrays. For each name the table has a
function of this module, which is given the arguments from the file. The class that the file names
is never imported.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from slide_deploy.checkpoint.stored_tensor import Storage, StoredTensor
from slide_deploy.checkpoint.unpickle import GlobalName, Rejected

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
# Sizes and offsets of tensors; a larger number comes from a damaged file.
_MAX_INDEX = 2**62
_MAX_RANK = 64
_MAX_PAIRS = 20_000


def tensor_type(value: Any) -> torch.dtype | None:
    """The dtype for a name such as ``torch.float32``; None for anything else."""
    if not isinstance(value, GlobalName) or value.module != "torch":
        return None
    # Not getattr: access to some names of torch imports a module.
    found = vars(torch).get(value.name)
    return found if isinstance(found, torch.dtype) else None


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > _MAX_RANK:
        raise Rejected
    if any(type(value) is not int or not 0 <= value < _MAX_INDEX for value in values):
        raise Rejected
    return tuple(values)


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    _grad: Any = None,
    _hooks: Any = None,
    bits: Any = None,
    *_: Any,
) -> StoredTensor:
    """``torch._utils._rebuild_tensor`` and ``_rebuild_tensor_v2``."""
    if bits:  # the numbers would have to be negated or conjugated
        return StoredTensor(_integers(shape), unsupported="lazily negated")
    if not isinstance(storage, Storage) or storage.dtype is None or type(offset) is not int:
        raise Rejected
    return storage.view(storage.dtype, offset, _integers(shape), _integers(strides))


def _typed_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    bits: Any = None,
    *_: Any,
) -> StoredTensor:
    """``torch._utils._rebuild_tensor_v3``, which has the dtype among its arguments."""
    if isinstance(storage, Storage):
        storage = replace(storage, dtype=tensor_type(dtype))
    return _tensor(storage, offset, shape, strides, grad, hooks, bits)


def _inner_tensor(data: Any, *_: Any) -> StoredTensor:
    """The tensor inside a parameter."""
    if isinstance(data, NumpyArray):
        data = data.tensor()
    if not isinstance(data, StoredTensor):
        raise Rejected
    return data


def _from_type(function: Any, _kind: Any, arguments: Any, *_: Any) -> StoredTensor:
    """``torch._tensor._rebuild_from_type_v2``: a tensor with attributes, or of a subclass."""
    builder = BUILDERS.get(str(function)) if isinstance(function, GlobalName) else None
    tensor = builder(*arguments) if builder and isinstance(arguments, tuple) else None
    return tensor if isinstance(tensor, StoredTensor) else StoredTensor((), unsupported="special")


def _unsupported(what: str, shape_at: int | None = None) -> Callable[..., StoredTensor]:
    """A builder of tensors that are recognised but cannot be read."""

    def build(*arguments: Any) -> StoredTensor:
        shape: tuple[int, ...] = ()
        if shape_at is not None and len(arguments) > shape_at:
            shape = _integers(arguments[shape_at])
        return StoredTensor(shape, unsupported=what)

    return build


def _mapping(*arguments: Any) -> dict[Any, Any]:
    """A plain dict for any mapping class."""
    first = arguments[0] if len(arguments) == 1 else None
    if isinstance(first, dict):
        return first  # not a copy: a small file could request thousands of copies of a large dict
    # Pairs, as old versions of Python pickle them. Larger lists come from damaged files.
    if isinstance(first, list | tuple) and len(first) <= _MAX_PAIRS:
        pairs = [pair for pair in first if isinstance(pair, list | tuple) and len(pair) == 2]
        return {str(key): value for key, value in pairs}
    return {}


def _sequence(items: Any = (), *_: Any) -> list[Any]:
    return items if isinstance(items, list) else []


@dataclass(eq=False)
class NumpyType:
    """A numpy type; the pickle sets its byte order later."""

    code: str
    order: Literal["<", ">", "|", "="] = "<"

    def set_pickled_state(self, state: Any) -> None:
        """Read the byte order from numpy's pickled state."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def dtype(self) -> np.dtype:
        """The dtype.

        Raises:
            Rejected: it is not a number of a fixed size, such as an object.
        """
        if not re.fullmatch(r"[fiuc](?:1|2|4|8|16)|b1", self.code):
            raise Rejected
        return np.dtype(self.code).newbyteorder("=" if self.order == "|" else self.order)


@dataclass(eq=False)
class NumpyArray:
    """A numpy array; the pickle sets its shape and bytes later."""

    shape: tuple[int, ...] = ()
    kind: NumpyType | None = None
    data: bytes = field(default=b"", repr=False)
    column_major: bool = False

    def set_pickled_state(self, state: Any) -> None:
        """Read shape, type and bytes from numpy's pickled state."""
        match state:
            case (_, tuple() as shape, NumpyType() as kind, bool() as order, bytes() as data):
                self.shape, self.kind = _integers(shape), kind
                self.column_major, self.data = order, data

    def tensor(self) -> StoredTensor:
        """The array as a tensor.

        Raises:
            Rejected: it holds no numbers.
        """
        if self.kind is None:
            raise Rejected
        dtype, shape, data = self.kind.dtype(), self.shape, self.data
        order: Any = "F" if self.column_major else "C"

        def read() -> torch.Tensor:
            array = np.frombuffer(data, dtype).reshape(shape, order=order)
            return torch.from_numpy(np.ascontiguousarray(array, dtype.newbyteorder("=")).copy())

        return StoredTensor(
            shape, torch.from_numpy(np.empty(0, dtype.newbyteorder("="))).dtype, read
        )


def _latin_bytes(text: Any, encoding: Any = "", *_: Any) -> bytes:
    """Bytes, as protocols 0 to 2 pickle them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Rejected
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise Rejected from error


def _numpy_type(code: Any, *_: Any) -> NumpyType:
    return NumpyType(code if isinstance(code, str) else "")


def _numpy_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> NumpyArray:
    """An array, as numpy pickles it with protocol 5."""
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes | bytearray):
        raise Rejected
    return NumpyArray(_integers(shape), kind, bytes(data), order == "F")


def _numpy_number(kind: Any, data: Any = b"", *_: Any) -> Any:
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes):
        raise Rejected
    dtype = kind.dtype()
    if len(data) != dtype.itemsize:
        raise Rejected
    return np.frombuffer(data, dtype)[0].item()


BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": _mapping,
    "builtins.dict": _mapping,
    "__builtin__.dict": _mapping,
    "collections.deque": _sequence,
    "builtins.list": _sequence,
    "builtins.set": _sequence,
    "builtins.frozenset": _sequence,
    "__builtin__.set": _sequence,
    "_codecs.encode": _latin_bytes,
    "builtins.bytes": lambda *_: b"",  # empty bytes, in protocols 0 to 2
    "__builtin__.bytes": lambda *_: b"",
    "torch.Size": lambda items=(), *_: _integers(items),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _inner_tensor,
    "torch._utils._rebuild_parameter_with_state": _inner_tensor,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _inner_tensor,
    "torch._utils._rebuild_device_tensor_from_numpy": _inner_tensor,
    "torch._utils._rebuild_xla_tensor": _inner_tensor,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_qtensor": _unsupported("quantised", 2),
    "torch._utils._rebuild_sparse_tensor": _unsupported("sparse"),
    "torch._utils._rebuild_nested_tensor": _unsupported("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unsupported("meta", 1),
    "torch._utils._rebuild_wrapper_subclass": _unsupported("special", 2),
    "numpy.dtype": _numpy_type,
    **{
        f"numpy.{core}.{name}": builder
        for core in ("core", "_core")
        for name, builder in (
            ("multiarray._reconstruct", lambda *_: NumpyArray()),
            ("multiarray.scalar", _numpy_number),
            ("numeric._frombuffer", _numpy_buffer),
        )
    },
}
