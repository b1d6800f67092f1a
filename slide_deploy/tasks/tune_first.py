"""The first step of ``export --tune``: race the forms of each attention on this machine."""

from collections.abc import Callable, Iterator, Sequence

from slide_deploy.backends.registry import timed_target_named
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named
from slide_deploy.machine import usable_threads
from slide_deploy.precisions import precision_named
from slide_deploy.tasks.contests import (
    Attentions,
    TuneOptions,
    attentions_of,
    parse_forms,
    run_contests,
    writable_table,
)
from slide_deploy.tuning.store import add_entry

# The defaults of `slide-deploy tune`.
STRIPS, SECONDS = (1, 2, 4, 7), 1.0


def tune_first(
    trained: Deployable,
    formats: Sequence[str],
    precision: str,
    step: Callable[[str], None],
    command: str = "",
) -> tuple[str, ...]:
    """Find the fastest form of each attention for the targets of some formats.

    The results go into the user's tuning table, which ``--lowering auto`` reads first.

    Args:
        trained: the network.
        formats: names of the formats to write.
        precision: precision of the files.
        step: called with each step as it starts.
        command: the command to record in the table; see ``TuneOptions``.

    Returns:
        What was not raced and why, one sentence each.

    Raises:
        InputError: if the table is damaged or not writable.
    """
    found = attentions_of(trained)
    remarks: list[str] = []
    for format in dict.fromkeys(formats):
        target = format_named(format).target
        try:
            present = timed_target_named(target).find()
        except InputError as error:  # some formats have no target that can be timed
            remarks.append(f"{format}: no form was raced: {error}")
            continue
        if present.present:
            options = _options(target, precision_named(precision).measured_on(target), command)
            remarks += _race(found, options, step)
        else:
            remarks.append(
                f"{format}: no form was raced because {target} is not available: {present.detail}"
            )
    return tuple(remarks)


def _options(target: str, precision: str, command: str) -> TuneOptions:
    threads, forms = usable_threads(), parse_forms(())
    return TuneOptions((target,), precision, threads, forms, STRIPS, SECONDS, command=command)


def _race(found: Attentions, options: TuneOptions, step: Callable[[str], None]) -> Iterator[str]:
    """Run the contests of a target, store each result in the table and yield what failed."""
    table = writable_table(None)
    for outcome in run_contests(found, options, table, step):
        if isinstance(outcome, str):
            yield outcome
            continue
        add_entry(table, outcome)
