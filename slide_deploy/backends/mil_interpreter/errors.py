"""Errors of the interpreter, which name the operator and its output."""

import os

from slide_deploy.errors import InputError


class UnsupportedOperator(InputError):
    """The program uses an operator, or an option of one, that the interpreter does not support.

    Args:
        path: of the package.
        operator: its name in MIL.
        output: name of the operation's first output.
        option: the unsupported option, as a clause; empty if the operator itself is unsupported.
    """

    def __init__(
        self, path: str | os.PathLike[str], operator: str, output: str, option: str = ""
    ) -> None:
        named = f"operator {_in_one_line(operator)}"
        what = f"{named} with {option}" if option else named
        super().__init__(
            f"{os.fspath(path)} uses {what} (output {output!r}), which the MIL interpreter does "
            f"not support: run the package with Core ML on a Mac, or export the model without it."
        )
        self.operator = operator
        self.output = output


def faulty(path: str | os.PathLike[str], operator: str, output: str, what: str) -> InputError:
    """Return the error for an operation that contradicts its operands; ``what`` is a clause."""
    return InputError(
        f"{os.fspath(path)} cannot be run: operator {_in_one_line(operator)} (output "
        f"{output!r}) {what}; export the package again."
    )


def _in_one_line(operator: str) -> str:
    """Return the name of an operator, escaped if a damaged file has control characters in it."""
    return operator if operator.isprintable() else repr(operator)
