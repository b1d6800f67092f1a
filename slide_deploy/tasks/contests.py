"""The contests of ``slide-deploy tune``: each attention on each target, among several forms."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.record import Configuration
from benchmarks.tuning import FORMS_KEPT, Contest, Effort, decide
from exporters.attention import AttentionFiles
from exporters.base import exporter_for
from slide_deploy.backends.registry import timed_target_named
from slide_deploy.deployable.feature_map_sizes import set_feature_map_sizes
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.folders import require_writable_folder
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.files.writing import STDOUT, require_writable
from slide_deploy.folding.model import fold_attention, reparameterize
from slide_deploy.formats import Format, format_run_on, known_formats
from slide_deploy.lowerings import FORMS, Lowering
from slide_deploy.machine import describe
from slide_deploy.models.slide_attention import FoldedSlideAttention, Layout, SlideAttention
from slide_deploy.precisions import precision_named
from slide_deploy.process import interruption
from slide_deploy.tuning.choice import choose, geometry_of, sensible_strips
from slide_deploy.tuning.store import Table, read_table, shipped_file, user_file
from slide_deploy.tuning.table import Entry, Geometry

Attentions = dict[Geometry, FoldedSlideAttention]


@dataclass(frozen=True)
class TuneOptions:
    """The options that all contests share.

    Attributes:
        targets: names of targets.
        precision: precision of the files.
        threads: number of threads for one call.
        forms: candidate forms.
        strips: candidate numbers of strips, ascending.
        seconds: seconds of measuring for each candidate of the long race.
        exhaustive: whether to race each form in each number of strips.
        command: the command to record in the table. Default: the command line of this process.
    """

    targets: tuple[str, ...]
    precision: str
    threads: int
    forms: tuple[str, ...]
    strips: tuple[int, ...]
    seconds: float
    exhaustive: bool = False
    command: str = ""

    @property
    def steps(self) -> int:
        """The largest number of steps that one contest reports."""
        kept = len(self.forms) if self.exhaustive else FORMS_KEPT
        return 1 + len(self.forms) + kept * (len(self.strips) - 1) + 3


def run_contests(
    attentions: Attentions, options: TuneOptions, table: Table, step: Callable[[str], None]
) -> Iterator[Entry | str]:
    """Race the forms of each attention on each target.

    Args:
        attentions: attentions by geometry.
        options: options of every contest.
        table: the tuning table that supplies the current choice, which is the baseline.
        step: called with each step as it starts.

    Yields:
        The new entry of the table, or one sentence that says why there is none.
    """
    for geometry, folded in attentions.items():
        with temporary_folder() as folder:
            size = (geometry.height, geometry.width)
            files = AttentionFiles(folded, size, options.precision, folder)
            for target in options.targets:
                try:
                    entry = _contest(target, geometry, files, options, table, step)
                except InputError as error:
                    interruption.check()  # a library may have turned Ctrl-C into this error
                    yield f"{geometry} on {target}: {error}"
                    continue
                table = table.with_entry(entry)  # the next contest starts from this result
                yield entry


def _contest(
    target: str,
    geometry: Geometry,
    files: AttentionFiles,
    options: TuneOptions,
    table: Table,
    step: Callable[[str], None],
) -> Entry:
    format = _format_run_on(target)
    tables = [table, read_table(shipped_file())]
    strips = [count for count in options.strips if count <= sensible_strips(geometry)]
    contest = Contest(
        target,
        Configuration(threads=options.threads, precision=_arithmetic(target, options.precision)),
        choose(target, options.precision, geometry, tables).lowering,
        options.forms,
        tuple(strips) or (1,),
        len(options.forms) if options.exhaustive else FORMS_KEPT,
    )
    decision = decide(
        contest,
        lambda lowering: files.write(lowering, format.name),
        Effort(seconds=options.seconds),
        lambda text: step(f"{geometry} on {target}: {text}"),
    )
    return Entry(
        target=target,
        precision=options.precision,
        geometry=geometry,
        threads=options.threads,
        machine=describe(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=options.command or shlex.join(["slide-deploy", *sys.argv[1:]]),
        **vars(decision),
    )


def _arithmetic(target: str, precision: str) -> str:
    """Return the precision that a target computes in for files of a precision.

    Quantised files compute their other operators in float32. For other files whose speed differs
    from that of float32 files, the runtime decides ("default").
    """
    record = precision_named(precision)
    if target in record.computed_in:
        return record.computed_in[target]
    is_float32 = record.is_quantised or record.measured_on(target) == "float32"
    return "float32" if is_float32 else "default"


def find_attentions(trained: Deployable | None, sizes: Sequence[str]) -> Attentions:
    """Return the attentions of a network, and random ones of the given sizes, by geometry.

    Args:
        trained: the network, or None.
        sizes: texts such as "96x56x56" (channels, height, width) or "128x14x14:nchw:k5".

    Raises:
        InputError: if there is no attention, or a size is invalid.
    """
    found: Attentions = {}
    if trained is not None:
        found = attentions_of(trained)
        if not found:
            name = trained.origin.name
            raise InputError(f"{name} has no slide attention: there is nothing to tune.")
    for text in sizes:
        single = _random_attention(text)
        assert single.resolution is not None
        found.setdefault(geometry_of(single, single.resolution), single)
    if not found:
        raise InputError("Give a checkpoint, or a size as --attention 96x56x56.")
    return found


def attentions_of(trained: Deployable) -> Attentions:
    """Return the folded attentions of a trained network, the first one of each geometry."""
    folded = reparameterize(trained.model)[0]
    set_feature_map_sizes(trained, folded)
    found: Attentions = {}
    for module in folded.modules():
        if isinstance(module, FoldedSlideAttention) and module.resolution is not None:
            found.setdefault(geometry_of(module, module.resolution), module)
    return found


def _random_attention(text: str) -> FoldedSlideAttention:
    """Return an attention with random weights; latency does not depend on their values."""
    from benchmarks.baselines.subject import attention

    layout: Layout = "nchw" if ":nchw" in text else "tokens"
    branched = attention(text.replace(":nchw", "", 1), layout).branched()
    assert isinstance(branched, SlideAttention)
    return fold_attention(branched)[0]


def parse_targets(names: Sequence[str], precision: str) -> tuple[str, ...]:
    """Return the named targets; without names, the available targets of all formats.

    Raises:
        InputError: if a target is not available here, or runs no exported format.
    """
    if not names:
        names = [each.target for each in known_formats() if _able(each, precision)]
        if not names:
            raise InputError(
                "No runtime for racing forms is available here: slide-deploy doctor says why."
            )
    for name in dict.fromkeys(names):
        found = timed_target_named(name).find()
        if not found.present:
            raise InputError(f"{name} cannot be used here: {found.detail}.")
        exporter_for(_format_run_on(name).name).require(precision)
    return tuple(dict.fromkeys(names))


def _format_run_on(target: str) -> Format:
    """Return the format that is exported for a target.

    Raises:
        InputError: if there is none.
    """
    found = format_run_on(target)
    if found is None:
        runtimes = ", ".join(format.target.split(":")[0] for format in known_formats())
        raise InputError(f"{target} runs no exported format: tune for {runtimes} targets.")
    return found


def _able(format: Format, precision: str) -> bool:
    """Return whether files of a format can be written and raced here."""
    with suppress(InputError):  # some formats have no target that can be timed
        exporter_for(format.name).require(precision)
        return timed_target_named(format.target).find().present
    return False


def parse_forms(names: Sequence[str]) -> tuple[str, ...]:
    """Return the named forms; all forms without names.

    Raises:
        InputError: if a form is unknown.
    """
    return tuple(Lowering(name).form for name in dict.fromkeys(names)) or tuple(FORMS)


def parse_strips(text: str) -> tuple[int, ...]:
    """Return the numbers of strips in a text such as "1,2,4", ascending.

    Raises:
        InputError: if the text is not a list of numbers.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise InputError(f"--strips {text} is not a list of numbers: give one such as 1,2,4.")
    return tuple(sorted(set(map(int, text.split(",")))))


def writable_table(out: Path | None) -> Table:
    """Return the tuning table to add to; an empty table if the file does not exist.

    Raises:
        InputError: if the file is damaged or not writable.
    """
    if out is None:
        out = user_file()
        assert out is not None  # the commands require platformdirs first
        require_writable_folder(out.parent, "XDG_CACHE_HOME, or give --out")
        out.parent.mkdir(parents=True, exist_ok=True)
    if out == STDOUT or (out.exists() and not out.is_file()):
        raise InputError(f"{out} is not a file, and a tuning table is read first: name a file.")
    require_writable(out)
    return read_table(out) if out.exists() else Table(out)
