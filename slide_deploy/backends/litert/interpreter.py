"""Open LiteRT's interpreter without its messages on the terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.backends.native_messages import line_of, muted
from slide_deploy.errors import InputError, MissingExtra

SUFFIXES = (".tflite",)
PACKAGE = "ai_edge_litert"


def version() -> str:
    """Return the version of the library, or "unknown" if it was not installed as a package."""
    try:
        return version_of("ai-edge-litert")
    except PackageNotFoundError:
        return "unknown"


def require() -> None:
    """Import the library.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise MissingExtra(PACKAGE, "litert")
    with muted():
        import ai_edge_litert.interpreter  # noqa: F401


def open_interpreter(
    path: Path,
    threads: int,
    *,
    xnnpack: bool = True,
    delegates: Sequence[Any] = (),
    keep_values: bool = False,
) -> Any:
    """Return an interpreter of a file, with memory allocated for its tensors.

    Args:
        path: of the file.
        threads: that one inference may use.
        xnnpack: whether XNNPACK runs the operators that it supports. Otherwise LiteRT's own kernels
            run all operators.
        delegates: that take operators first.
        keep_values: whether intermediates can be read after a call.

    Raises:
        InputError: if LiteRT refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with muted(), refusals(path):
        interpreter = Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_op_resolver_type=OpResolverType.AUTO if xnnpack else plain,
            experimental_delegates=list(delegates),
            experimental_preserve_all_tensors=keep_values,
        )
        interpreter.allocate_tensors()
        return interpreter


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Raise LiteRT's errors about a file as `InputError`.

    Raises:
        InputError: if LiteRT raises an error.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} does not load on LiteRT ({line_of(error)}).") from error
