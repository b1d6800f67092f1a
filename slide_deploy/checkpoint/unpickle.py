"""Read a pickle without importing or calling anything that it names.

A pickle is a program for a small stack machine. This module is such a machine, with two differences
from Python's. A name such as ``os.system`` stays a ``GlobalName``, which cannot be called. When the
program builds an object, a closed table defines what a few known names become. Every other object
becomes a ``Placeholder`` that only stores its arguments and its state.

So inert data beside the weights (paths, dates, configurations, optimisers, whole modules) can be
read, and code in a file cannot run. ``pickletools`` decodes the operations of protocols 0 to 5. The
result holds plain data, ``Placeholder`` objects and the objects of the table.
"""

import pickletools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast


class PickleStream(Protocol):
    """The source of a pickle: a binary file or a memory map."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""

    def readline(self) -> bytes:
        """Return the bytes up to the next line break, included."""


class MalformedPickle(ValueError):
    """The bytes are not a valid pickle."""


@dataclass(frozen=True)
class GlobalName:
    """A class or function that a pickle names: its module and its name inside it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Placeholder:
    """An object that was not built.

    Attributes:
        name: the class or function that the pickle names.
        arguments: the arguments that the pickle passes to it.
        state: the state that the pickle sets, usually the attributes by name.
        items: the items that the pickle sets, as on a subclass of dict.
        elements: the elements that the pickle appends, as to a subclass of list.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)

    @property
    def attributes(self) -> dict[Any, Any]:
        """The attributes that the pickle sets, by name."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        return {
            name: value for part in parts if isinstance(part, dict) for name, value in part.items()
        }


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a dict or of an object that was filled like one; None for anything else."""
    if isinstance(value, dict):
        return value
    return value.items if isinstance(value, Placeholder) and value.items else None


Builders = Mapping[str, Callable[..., Any]]
"""For each known name, a function that builds the object; ``Rejected`` leaves a placeholder."""


class Rejected(Exception):
    """The arguments do not fit the known function that the pickle names."""


# A thousand tensors with their optimiser take about 100,000 operations. Each may take 200 bytes.
MOST_OPERATIONS = 2_000_000

_MARK = object()

# Operations that push their decoded argument.
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,  # dicts have no hash, so a list replaces the set
}
_IGNORED = frozenset({"PROTO", "FRAME", "READONLY_BUFFER"})


def unpickle(
    stream: PickleStream,
    builders: Builders,
    persistent: Callable[[Any], Any] = lambda _: Placeholder("a reference"),
) -> Any:
    """Read one pickle; the stream is then positioned after it.

    Args:
        stream: a stream at the start of the pickle.
        builders: functions that build known objects from the pickle's arguments.
        persistent: returns the object for a persistent identifier.

    Raises:
        MalformedPickle: the bytes are not a pickle.
    """
    machine = _Machine(builders, persistent)
    try:
        operations = pickletools.genops(cast("IO[bytes]", stream))
        for count, (operation, argument, _) in enumerate(operations):
            if count > MOST_OPERATIONS:
                raise MalformedPickle("it has more operations than any checkpoint needs")
            machine.run(operation.name, argument)
        return machine.pop()
    except MalformedPickle:
        raise
    # Decoding damaged bytes and unpacking wrong operands raise these.
    except (ValueError, TypeError, LookupError, MemoryError, OverflowError) as error:
        raise MalformedPickle(str(error) or type(error).__name__) from error


class _Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self, builders: Builders, persistent: Callable[[Any], Any]) -> None:
        self._builders = builders
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self._stack or self._stack[-1] is _MARK:
            raise MalformedPickle("its stack is empty")
        return self._stack.pop()

    def run(self, name: str, argument: Any) -> None:
        """Run one operation, given by its name in pickletools."""
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name not in _IGNORED:
            handler = getattr(self, f"_do_{name.lower()}", None)
            if handler is None:
                raise MalformedPickle(f"its operation {name} is not supported")
            handler(argument)

    def _pop_mark(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        taken: list[Any] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise MalformedPickle("it has no mark on its stack")

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise MalformedPickle("its stack is empty")
        return self._stack[-1]

    def _build(self, callee: Any, arguments: Any) -> Any:
        """The object that stands for the result of a call."""
        arguments = arguments if isinstance(arguments, tuple) else ()
        builder = self._builders.get(str(callee)) if isinstance(callee, GlobalName) else None
        if builder is not None:
            try:
                return builder(*arguments)
            except (Rejected, TypeError):
                pass  # the arguments do not fit, so a placeholder will do
        return Placeholder(
            str(callee) if isinstance(callee, GlobalName) else "an object", arguments
        )

    # The stack and the memo.

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _do_pop(self, _: Any) -> None:
        if not self._stack:
            raise MalformedPickle("its stack is empty")
        self._stack.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self._pop_mark()

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._top())

    def _do_put(self, index: int) -> None:
        self._memo[index] = self._top()

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def _do_get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _do_binget = _do_long_binget = _do_get

    # Containers.

    def _do_list(self, _: Any) -> None:
        self._stack.append(self._pop_mark())

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_mark()))

    _do_frozenset = _do_tuple

    def _do_tuple1(self, _: Any) -> None:
        self._stack.append((self.pop(),))

    def _do_tuple2(self, _: Any) -> None:
        second, first = self.pop(), self.pop()
        self._stack.append((first, second))

    def _do_tuple3(self, _: Any) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self._stack.append((first, second, third))

    def _do_dict(self, _: Any) -> None:
        result: dict[Any, Any] = {}
        _set_items(result, self._pop_mark())
        self._stack.append(result)

    def _do_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        _set_items(self._top(), [key, value])

    def _do_setitems(self, _: Any) -> None:
        pairs = self._pop_mark()
        _set_items(self._top(), pairs)

    def _do_append(self, _: Any) -> None:
        value = self.pop()
        _append(self._top(), [value])

    def _do_appends(self, _: Any) -> None:
        values = self._pop_mark()
        _append(self._top(), values)

    _do_additems = _do_appends

    # Names and objects.

    def _do_global(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._stack.append(GlobalName(module, name))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise MalformedPickle("it names a class by something other than text")
        self._stack.append(GlobalName(module, name))

    def _do_ext1(self, code: int) -> None:
        self._stack.append(GlobalName("copyreg extension", str(code)))

    _do_ext2 = _do_ext4 = _do_ext1

    def _do_reduce(self, _: Any) -> None:
        arguments, callee = self.pop(), self.pop()
        self._stack.append(self._build(callee, arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        self.pop()  # keyword arguments, which no known class needs
        self._do_reduce(None)

    def _do_inst(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._stack.append(self._build(GlobalName(module, name), tuple(self._pop_mark())))

    def _do_obj(self, _: Any) -> None:
        callee, *arguments = self._pop_mark()
        self._stack.append(self._build(callee, tuple(arguments)))

    def _do_build(self, _: Any) -> None:
        state = self.pop()
        top = self._top()
        if isinstance(top, Placeholder):
            top.state = state
        elif hasattr(top, "set_pickled_state"):
            with suppress(Rejected):
                top.set_pickled_state(state)
        # Plain data have no state.

    def _do_persid(self, identifier: str) -> None:
        self._stack.append(self._persistent(identifier))

    def _do_binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent(self.pop()))

    def _do_stop(self, _: Any) -> None:
        self._top()  # raises if the stack is empty


def _set_items(target: Any, pairs: list[Any]) -> None:
    """Set alternating keys and values on a dict or a placeholder."""
    if len(pairs) % 2:
        raise MalformedPickle("a key has no value")
    items = target.items if isinstance(target, Placeholder) else target
    if not isinstance(items, dict):
        raise MalformedPickle("it sets an item of something that has none")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        items[_key(key)] = value


def _append(target: Any, values: list[Any]) -> None:
    elements = target.elements if isinstance(target, Placeholder) else target
    if not isinstance(elements, list):
        raise MalformedPickle("it appends to something other than a list")
    elements.extend(values)


def _key(key: Any) -> Any:
    """A key as it is, or a placeholder for a tuple, whose hash may overflow if it is nested."""
    plain = (str, int, float, bytes, bool, type(None), GlobalName, Placeholder)
    return key if isinstance(key, plain) else Placeholder(type(key).__name__)
