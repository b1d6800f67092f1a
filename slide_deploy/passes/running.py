"""Run passes over a program, one after the other."""

from collections.abc import Callable, Sequence
from importlib import import_module

from torch.export import ExportedProgram

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor, duplicate

Rewrite = Callable[[Editor, PassReport], None]


def run_passes(
    program: ExportedProgram, names: Sequence[str]
) -> tuple[ExportedProgram, tuple[PassReport, ...]]:
    """Rewrite a copy of a program.

    Args:
        program: the traced program; it is not changed.
        names: module names of the passes in this package, in order.

    Returns:
        The rewritten program and the report of each pass.

    Raises:
        InputError: if a pass measures that its result differs from the original.
    """
    program = duplicate(program)
    editor = Editor(program)
    editor.clean()  # Tracing leaves dead code, which would hide patterns from the passes.
    editor.forget_strides()
    reports = tuple(run_pass(editor, name) for name in names)
    editor.finish()
    return program, reports


def run_pass(editor: Editor, name: str) -> PassReport:
    """Run one pass in place and remove dead code; the caller finishes the program.

    Args:
        editor: editor of the program.
        name: module name of the pass.

    Raises:
        InputError: if the pass measures that its result differs from the original.
    """
    report = PassReport(name)
    rewrite: Rewrite = import_module(f"slide_deploy.passes.{name}").rewrite
    rewrite(editor, report)
    editor.clean()
    return report
