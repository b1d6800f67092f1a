"""Handle Ctrl-C and termination signals so that no library can hide them.

A converter that runs Python from C++ turns a KeyboardInterrupt into an error of its own, or drops
it. So the signal is also recorded: callers of such a library check the record afterwards, and the
command prints "interrupted" whatever exception ended it. Only the standard library is used.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Signals by name, because not every system has all of them, and the word to print for each.
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


# Seconds until a signal that arrived during an import is handled again.
_PAUSE = 0.05


class Interrupted(KeyboardInterrupt):
    """Raised by a signal.

    It is a subclass because Python records a plain KeyboardInterrupt that leaves code compiled from
    text, and later ends the process by SIGINT, whatever the exit code.
    """


class _State:
    """The signals of this process since its command began."""

    received: int | None = None
    # Number of open blocks that must not be interrupted, and whether a signal waits for their end.
    held = 0
    waiting = False
    # Whether the command has ended. Later signals are recorded and raise nothing.
    over = False
    # Whether an import may be interrupted in a given file of Python code.
    interruptible: Callable[[str], bool] = lambda file: False


def run(command: Callable[[], None]) -> None:
    """Run a command. If a signal arrives, exit with 128 plus its number: 130 for Ctrl-C.

    Raises:
        SystemExit: if the command was interrupted.
    """
    _State.received, _State.held, _State.waiting, _State.over = None, 0, False, False
    before = _install()
    hook, sys.unraisablehook = sys.unraisablehook, _print_others
    try:
        try:
            command()
            _State.over = True
        except BaseException as error:
            _State.over = True  # set first, because an alarm may still be pending
            if _State.received is None and _is_interruption(error):
                _State.received = signal.SIGINT
            if _State.received is None:
                raise
        if _State.received is not None:
            word = _WORDS[signal.Signals(_State.received).name]
            print(f"slide-deploy: {word}.", file=sys.stderr)
            sys.exit(128 + _State.received)
    finally:
        sys.unraisablehook = hook
        _alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise a KeyboardInterrupt that a library may have swallowed.

    Raises:
        KeyboardInterrupt: if a signal has arrived since the command began.
    """
    if _State.received is not None:
        raise Interrupted


@contextmanager
def unswallowed() -> Iterator[None]:
    """Raise a Ctrl-C that a library in the block has swallowed, at the end of the block.

    Raises:
        KeyboardInterrupt: if a signal has arrived; it replaces any other exception.
    """
    try:
        yield
    except Exception:
        check()
        raise
    check()


@contextmanager
def held() -> Iterator[None]:
    """Do not interrupt a short block: a signal waits for its end.

    Raises:
        KeyboardInterrupt: at the end, if a signal arrived in the block.
    """
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        if _State.waiting and not _State.held:
            _State.waiting = False
            raise Interrupted


@contextmanager
def interruptible_imports(interruptible: Callable[[str], bool]) -> Iterator[None]:
    """Allow interruption of an import of the user's own module, which may run for hours.

    Args:
        interruptible: returns whether a file of Python code is the user's own.
    """
    before = _State.interruptible
    _State.interruptible = interruptible
    try:
        yield
    finally:
        _State.interruptible = before


def ignore() -> None:
    """Ignore further signals while the process ends."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)


def _signals() -> list[int]:
    if threading.current_thread() is not threading.main_thread():
        return []  # Python handles signals in the main thread only
    numbers = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]
    # A signal that is already ignored stays so; nohup sets that.
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _install() -> "dict[int, signal._HANDLER]":
    before = {number: signal.signal(number, _receive) for number in _signals()}
    if before and hasattr(signal, "SIGALRM"):
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _handle_again)
    return before


def _print_others(error: "sys.UnraisableHookArgs") -> None:
    """Print exceptions that cannot be caught, except for a signal, which is recorded anyway.

    Without this, a signal that arrives while an object is finalised prints a traceback.
    """
    if not issubclass(error.exc_type, Interrupted):
        sys.__unraisablehook__(error)


def _receive(number: int, frame: FrameType | None) -> None:
    _State.received = number
    if _State.over:
        return
    if _State.held:
        _State.waiting = True
    elif not (_importing(frame) and _alarm(_PAUSE)):
        raise Interrupted


def _handle_again(number: int, frame: FrameType | None) -> None:
    if _State.received is not None:
        _receive(_State.received, frame)


def _alarm(seconds: float) -> bool:
    """Handle the signal again after some seconds, 0 for never; return False if it cannot be."""
    if not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is not _handle_again:
        return False
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return True


def _importing(frame: FrameType | None) -> bool:
    """Return whether an import is running: C++ libraries abort if theirs is interrupted."""
    while frame is not None:
        if _State.interruptible(frame.f_code.co_filename):
            return False
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_interruption(error: BaseException) -> bool:
    """Return whether an exception is a KeyboardInterrupt, or typer's exit for one."""
    if isinstance(error, SystemExit):
        return error.code == 128 + signal.SIGINT
    return isinstance(error, KeyboardInterrupt)
