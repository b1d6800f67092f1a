"""Passes over a program, one after the other."""

from collections.abc import Callable, Sequence
from importlib import import_module

from torch.export import ExportedProgram

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor, duplicate

Rewrite = Callable[[Editor, PassReport], None]


def run_passes(
    program: ExportedProgram, names: Sequence[str]
) -> tuple[ExportedProgram, tuple[PassReport, ...]]:
    """Rewrite a program.

    Args:
        program: traced; left as it is.
        names: of the passes, in order: modules of this package.

    Returns:
        A program that computes the same, and what each pass did.

    Raises:
        InputError: if a pass measured that what it made is not the same.
    """
    program = duplicate(program)
    editor = Editor(program)
    editor.clean()  # tracing leaves dead code, which passes need not see
    editor.forget_strides()
    reports = tuple(run_pass(editor, name) for name in names)
    editor.finish()
    return program, reports


def run_pass(editor: Editor, name: str) -> PassReport:
    """Rewrite a program in place, and remove what nobody reads any more; it is not yet finished.

    Args:
        editor: of the program.
        name: of the pass.

    Raises:
        InputError: if the pass measured that what it made is not the same.
    """
    report = PassReport(name)
    rewrite: Rewrite = import_module(f"slide_deploy.passes.{name}").rewrite
    rewrite(editor, report)
    editor.clean()
    return report
