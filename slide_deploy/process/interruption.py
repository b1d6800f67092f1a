"""Ctrl-C, and being ended from outside, that no library can hide.

A converter that runs Python from C++ turns the KeyboardInterrupt into an error of its own, or drops
it. So the signal is remembered as well: whoever calls such a library looks it up afterwards, and
the command says "interrupted" whatever exception it ended with. Standard library only.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# By name, since not every system has all of them; each with the word for what happened.
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


# Seconds until a signal that came while a module was loaded is looked at again.
_PAUSE = 0.05


class Interrupted(KeyboardInterrupt):
    """What a signal raises.

    A class of its own: where a plain KeyboardInterrupt passes through code that was given as text,
    Python remembers it and ends the process by SIGINT later on, whatever the exit code.
    """


class _State:
    """What this process has received since its command began."""

    received: int | None = None
    # How many blocks are under way that must not be torn, and whether a signal waits for their end.
    held = 0
    waiting = False
    # Whether the command has ended: what comes now is remembered and raises nothing.
    over = False
    # Whether a file of Python code may be torn although a module is loaded from it.
    tearable: Callable[[str], bool] = lambda file: False


def run(command: Callable[[], None]) -> None:
    """Run a command; exit with 128 and the signal's number if one came, 130 for Ctrl-C.

    Raises:
        SystemExit: if the command was interrupted.
    """
    _State.received, _State.held, _State.waiting, _State.over = None, 0, False, False
    before = _install()
    told, sys.unraisablehook = sys.unraisablehook, _tell_others
    try:
        try:
            command()
            _State.over = True
        except BaseException as error:
            _State.over = True  # first: an alarm may still be set
            if _State.received is None and _says_interrupted(error):
                _State.received = signal.SIGINT
            if _State.received is None:
                raise
        if _State.received is not None:
            word = _WORDS[signal.Signals(_State.received).name]
            print(f"slide-deploy: {word}.", file=sys.stderr)
            sys.exit(128 + _State.received)
    finally:
        sys.unraisablehook = told
        _alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise the KeyboardInterrupt that somebody else may have swallowed.

    Raises:
        KeyboardInterrupt: if a signal has come since the command began.
    """
    if _State.received is not None:
        raise Interrupted


@contextmanager
def unswallowed() -> Iterator[None]:
    """A block that calls libraries which may hide a Ctrl-C: it is raised at the end of the block.

    Raises:
        KeyboardInterrupt: if a signal has come, in place of any other exception.
    """
    try:
        yield
    except Exception:
        check()
        raise
    check()


@contextmanager
def held() -> Iterator[None]:
    """A short block that is not torn: a signal waits for its end.

    Raises:
        KeyboardInterrupt: at the end, if a signal came meanwhile.
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
def tearing(tearable: Callable[[str], bool]) -> Iterator[None]:
    """A block that loads a user's own module, which may work for hours before it is loaded.

    Args:
        tearable: whether a file of Python code is the user's own.
    """
    before = _State.tearable
    _State.tearable = tearable
    try:
        yield
    finally:
        _State.tearable = before


def ignore() -> None:
    """Let no further signal disturb the end of the process."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)


def _signals() -> list[int]:
    if threading.current_thread() is not threading.main_thread():
        return []  # Python lets no other thread decide
    numbers = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]
    # Who started us may have asked for that, as nohup does.
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _install() -> "dict[int, signal._HANDLER]":
    before = {number: signal.signal(number, _receive) for number in _signals()}
    if before and hasattr(signal, "SIGALRM"):
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _look_again)
    return before


def _tell_others(error: "sys.UnraisableHookArgs") -> None:
    """Print what is raised where nobody can catch it, but for a signal, which is remembered.

    A signal that comes while an object is finalised would be printed with a traceback.
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


def _look_again(number: int, frame: FrameType | None) -> None:
    if _State.received is not None:
        _receive(_State.received, frame)


def _alarm(seconds: float) -> bool:
    """Have a signal looked at again after some seconds, 0 for never; False where nobody can."""
    if not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is not _look_again:
        return False
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return True


def _importing(frame: FrameType | None) -> bool:
    """Whether a library is being loaded: those in C++ abort the process if that is torn."""
    while frame is not None:
        if _State.tearable(frame.f_code.co_filename):
            return False
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _says_interrupted(error: BaseException) -> bool:
    """Whether an exception is a KeyboardInterrupt, or what typer makes of one."""
    if isinstance(error, SystemExit):
        return error.code == 128 + signal.SIGINT
    return isinstance(error, KeyboardInterrupt)
