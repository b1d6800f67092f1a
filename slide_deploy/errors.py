"""What can go wrong, in four classes.

The command line turns each into one sentence on stderr and exit code 2.
"""

from slide_deploy.terminal.printable import printable


class SlideDeployError(Exception):
    """Base of every error that slide-deploy raises on purpose; its text is one sentence.

    The text may hold names out of files from strangers: what a terminal would take for a command,
    and line breaks, are shown as question marks and blanks.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(printable(" ".join(line.strip() for line in str(text).splitlines())))


class InputError(SlideDeployError):
    """An input cannot be used: the text names the file or layer, what is wrong and what to do."""


class MissingExtra(InputError):
    """A library that an optional feature needs is not installed.

    Args:
        package: the library as Python imports it, for example ``openvino``.
        extra: the extra of slide-deploy that brings it, for example ``openvino``.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: run pip install 'slide-deploy[{extra}]' and try again."
        )
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        """Travel between processes as a pair of names, not as the sentence that they make."""
        return type(self), (self.package, self.extra)


# How libraries written in C++ say that the system gave them no memory.
_NO_MEMORY = (
    *("bad_alloc", "allocate memory", "out of memory", "can't allocate"),
    "failed to map segment",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or the one that it was made of, says that the memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if isinstance(cause, MemoryError) or any(each in text for each in _NO_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class CheckFailed(SlideDeployError):
    """A check said no: a written file does not answer as its network does, or breaks a rule."""
