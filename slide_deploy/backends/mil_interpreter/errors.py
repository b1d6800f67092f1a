"""What the interpreter refuses, with the operator and the value that it concerns."""

import os

from slide_deploy.errors import InputError


class UnsupportedOperator(InputError):
    """The program uses an operator, or an option of one, that the interpreter does not know.

    Args:
        path: the package.
        operator: the operator, as MIL calls it.
        output: the name of the operation's first output.
        option: the option that is not known, as a clause; empty if it is the operator itself.
    """

    def __init__(
        self, path: str | os.PathLike[str], operator: str, output: str, option: str = ""
    ) -> None:
        named = f"operator {_in_one_line(operator)}"
        what = f"{named} with {option}" if option else named
        super().__init__(
            f"{os.fspath(path)} uses {what} (output {output!r}), which the MIL interpreter does "
            f"not know: run the package with Core ML on a Mac, or export the model without it."
        )
        self.operator = operator
        self.output = output


def faulty(path: str | os.PathLike[str], operator: str, output: str, what: str) -> InputError:
    """The error for an operation that contradicts its operands; ``what`` is a clause."""
    return InputError(
        f"{os.fspath(path)} cannot be run: operator {_in_one_line(operator)} (output "
        f"{output!r}) {what}; "
        f"export the package again."
    )


def _in_one_line(operator: str) -> str:
    """The name of an operator; a damaged file may have any characters in one."""
    return operator if operator.isprintable() else repr(operator)
