"""The exceptions of slide-deploy, four classes.

The command line prints each as one sentence on stderr and exits with code 2.
"""

from slide_deploy.terminal.printable import printable


class SlideDeployError(Exception):
    """Base class of the errors that slide-deploy raises; the message is one sentence.

    The message may contain names from untrusted files. So line breaks become spaces, and characters
    that control a terminal become question marks.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(printable(" ".join(line.strip() for line in str(text).splitlines())))


class InputError(SlideDeployError):
    """An input is unusable. The message names the file or layer, the problem and the remedy."""


class MissingExtra(InputError):
    """A library that an optional feature needs is not installed.

    Args:
        package: import name of the library, for example ``openvino``.
        extra: the extra of slide-deploy that installs it, for example ``openvino``.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: run pip install 'slide-deploy[{extra}]' and try again."
        )
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        """Pickle the two arguments; by default an exception pickles its message only."""
        return type(self), (self.package, self.extra)


# Parts of the messages of C++ libraries when an allocation fails.
_NO_MEMORY = (
    *("bad_alloc", "allocate memory", "out of memory", "can't allocate"),
    "failed to map segment",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one of its causes, means that the memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if isinstance(cause, MemoryError) or any(each in text for each in _NO_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class CheckFailed(SlideDeployError):
    """A check failed: a file's outputs differ from those of its network, or it breaks a rule."""
