"""What ``export --tune`` does before it exports: races the forms of each attention here."""

from collections.abc import Callable, Iterator, Sequence

from slide_deploy.backends.registry import timed_target_named
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named
from slide_deploy.machine import usable_threads
from slide_deploy.precisions import precision_named
from slide_deploy.tasks.contests import (
    Attentions,
    Wish,
    attentions_of,
    hold,
    parse_forms,
    writable_table,
)
from slide_deploy.tuning.store import add_entry

# As `slide-deploy tune` has it by default.
STRIPS, SECONDS = (1, 2, 4, 7), 1.0


def tune_first(
    trained: Deployable,
    formats: Sequence[str],
    precision: str,
    step: Callable[[str], None],
    command: str = "",
) -> tuple[str, ...]:
    """Find the fastest forms of a model's attentions for the targets of some formats.

    The outcome goes into the user's own table, where ``--lowering auto`` looks first.

    Args:
        trained: the network.
        formats: that will be written.
        precision: of the files.
        step: told what is about to be done.
        command: that asked for it, for the table; see ``Wish``.

    Returns:
        What was not raced and why, a sentence each.

    Raises:
        InputError: if the table is damaged, or cannot be written.
    """
    found = attentions_of(trained)
    remarks: list[str] = []
    for format in dict.fromkeys(formats):
        target = format_named(format).target
        try:
            present = timed_target_named(target).find()
        except InputError as error:  # a format need not have a target of the benchmark
            remarks.append(f"{format}: no form was raced: {error}")
            continue
        if present.present:
            wish = _wish(target, precision_named(precision).measured_on(target), command)
            remarks += _race(found, wish, step)
        else:
            remarks.append(
                f"{format}: no form was raced, as {target} is not here: {present.detail}"
            )
    return tuple(remarks)


def _wish(target: str, precision: str, command: str) -> Wish:
    threads, forms = usable_threads(), parse_forms(())
    return Wish((target,), precision, threads, forms, STRIPS, SECONDS, command=command)


def _race(found: Attentions, wish: Wish, step: Callable[[str], None]) -> Iterator[str]:
    """Hold the contests of a target, write down each outcome and yield what failed."""
    table = writable_table(None)
    for outcome in hold(found, wish, table, step):
        if isinstance(outcome, str):
            yield outcome
            continue
        add_entry(table, outcome)
