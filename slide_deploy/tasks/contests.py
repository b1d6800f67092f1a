"""What `tune` decides: which attentions, on which targets, among which candidates."""

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
class Wish:
    """What the options say of every contest.

    Attributes:
        targets: by name.
        precision: of the files.
        threads: of one call.
        forms: that may win.
        strips: that may win, ascending.
        seconds: of measuring, for each candidate of the long race.
        exhaustive: whether each form is raced in each number of strips.
        command: that asked for it; what this process was started with if left out.
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
        """How often a contest says at most that it goes on."""
        kept = len(self.forms) if self.exhaustive else FORMS_KEPT
        return 1 + len(self.forms) + kept * (len(self.strips) - 1) + 3


def hold(
    attentions: Attentions, wish: Wish, table: Table, step: Callable[[str], None]
) -> Iterator[Entry | str]:
    """Hold a contest for each attention on each target.

    Args:
        attentions: by geometry.
        wish: what the options say.
        table: that entries go to; what it holds is the present choice.
        step: told what is about to be done.

    Yields:
        The entry that was decided, or why none was, one sentence.
    """
    for geometry, folded in attentions.items():
        with temporary_folder() as folder:
            size = (geometry.height, geometry.width)
            files = AttentionFiles(folded, size, wish.precision, folder)
            for target in wish.targets:
                try:
                    entry = _contest(target, geometry, files, wish, table, step)
                except InputError as error:
                    interruption.check()  # a library may have made this error of a Ctrl-C
                    yield f"{geometry} on {target}: {error}"
                    continue
                table = table.with_entry(entry)  # the next one starts from what is known by now
                yield entry


def _contest(
    target: str,
    geometry: Geometry,
    files: AttentionFiles,
    wish: Wish,
    table: Table,
    step: Callable[[str], None],
) -> Entry:
    format = _format_run_on(target)
    tables = [table, read_table(shipped_file())]
    strips = [count for count in wish.strips if count <= sensible_strips(geometry)]
    contest = Contest(
        target,
        Configuration(threads=wish.threads, precision=_arithmetic(target, wish.precision)),
        choose(target, wish.precision, geometry, tables).lowering,
        wish.forms,
        tuple(strips) or (1,),
        len(wish.forms) if wish.exhaustive else FORMS_KEPT,
    )
    decision = decide(
        contest,
        lambda lowering: files.write(lowering, format.name),
        Effort(seconds=wish.seconds),
        lambda text: step(f"{geometry} on {target}: {text}"),
    )
    return Entry(
        target=target,
        precision=wish.precision,
        geometry=geometry,
        threads=wish.threads,
        winner=decision.winner,
        baseline=decision.baseline,
        trials=decision.trials,
        dropped=dict(decision.dropped),
        machine=describe(),
        runtime=decision.runtime,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=wish.command or shlex.join(["slide-deploy", *sys.argv[1:]]),
    )


def _arithmetic(target: str, precision: str) -> str:
    """What the target computes in for files of a precision.

    Files of low precision compute the rest in float32. Other files whose speed is not that of
    float32 files leave it to the runtime.
    """
    record = precision_named(precision)
    if target in record.computed_in:
        return record.computed_in[target]
    is_float32 = record.is_quantised or record.measured_on(target) == "float32"
    return "float32" if is_float32 else "default"


def find_attentions(trained: Deployable | None, sizes: Sequence[str]) -> Attentions:
    """Every geometry of a network, and those that were given by their size.

    Args:
        trained: the network; None for none.
        sizes: texts such as "96x56x56", "128x14x14:nchw:k5".

    Raises:
        InputError: if there is none, or a size cannot be used.
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
    """Every geometry of a trained network, with the first attention that has it, folded."""
    folded = reparameterize(trained.model)[0]
    set_feature_map_sizes(trained, folded)
    found: Attentions = {}
    for module in folded.modules():
        if isinstance(module, FoldedSlideAttention) and module.resolution is not None:
            found.setdefault(geometry_of(module, module.resolution), module)
    return found


def _random_attention(text: str) -> FoldedSlideAttention:
    """Latency does not depend on the weights."""
    from benchmarks.baselines.subject import attention

    layout: Layout = "nchw" if ":nchw" in text else "tokens"
    branched = attention(text.replace(":nchw", "", 1), layout).branched()
    assert isinstance(branched, SlideAttention)
    return fold_attention(branched)[0]


def parse_targets(names: Sequence[str], precision: str) -> tuple[str, ...]:
    """Targets that are present; without names those that formats are tuned for.

    Raises:
        InputError: if one is not present here, or runs no file that is exported.
    """
    if not names:
        names = [each.target for each in known_formats() if _able(each, precision)]
        if not names:
            raise InputError(
                "No runtime that forms could be raced on is here: see slide-deploy doctor."
            )
    for name in dict.fromkeys(names):
        found = timed_target_named(name).find()
        if not found.present:
            raise InputError(f"{name} cannot be used here: {found.detail}.")
        exporter_for(_format_run_on(name).name).require(precision)
    return tuple(dict.fromkeys(names))


def _format_run_on(target: str) -> Format:
    """The format that is written for a target; InputError if none is."""
    found = format_run_on(target)
    if found is None:
        runtimes = ", ".join(format.target.split(":")[0] for format in known_formats())
        raise InputError(f"{target} runs no file that is exported: tune for {runtimes} targets.")
    return found


def _able(format: Format, precision: str) -> bool:
    """Whether files of a format can be written and raced here."""
    with suppress(InputError):  # a format need not have a target of the benchmark
        exporter_for(format.name).require(precision)
        return timed_target_named(format.target).find().present
    return False


def parse_forms(names: Sequence[str]) -> tuple[str, ...]:
    """Forms that exist; all without names.

    Raises:
        InputError: if one does not.
    """
    return tuple(Lowering(name).form for name in dict.fromkeys(names)) or tuple(FORMS)


def parse_strips(text: str) -> tuple[int, ...]:
    """Ascending numbers from "1,2,4".

    Raises:
        InputError: if the text is no such list.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise InputError(f"--strips {text} is no list of numbers: give 1,2,4.")
    return tuple(sorted(set(map(int, text.split(",")))))


def writable_table(out: Path | None) -> Table:
    """The table that is added to, empty if it does not exist yet.

    Raises:
        InputError: if it is damaged, or cannot be written to.
    """
    if out is None:
        out = user_file()
        assert out is not None  # the command has asked for platformdirs
        require_writable_folder(out.parent, "XDG_CACHE_HOME, or give --out")
        out.parent.mkdir(parents=True, exist_ok=True)
    if out == STDOUT or (out.exists() and not out.is_file()):
        raise InputError(f"{out} is no table: one is read before it is added to; name a file.")
    require_writable(out)
    return read_table(out) if out.exists() else Table(out)
