"""Run a file and its reference on the same inputs, and compare every output."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from slide_deploy.backends import open_file
from slide_deploy.backends.base import Feeds
from slide_deploy.backends.opening import open_exactly, values_of
from slide_deploy.deployable.inputs import Input
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.precisions import FLOAT32, precision_named
from slide_deploy.verification import parity
from slide_deploy.verification.cases import Case, NamedOutputs, verification_cases
from slide_deploy.verification.divergence import Divergence
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.two_files.first_difference import first_difference
from slide_deploy.verification.two_files.pairing import (
    OpenedFile,
    Pairing,
    paired_files,
    unlike,
)
from slide_deploy.verification.two_files.shared_inputs import shared_inputs

# Relative to its largest term, a float32 sum of some thousand terms has a smaller error than this.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class TwoFiles:
    """A file and the file that states its true outputs, opened and paired.

    Attributes:
        file: the judged file.
        reference: the other one, unoptimised where its runtime can do so.
        pairing: how their interfaces correspond.
        cases: the inputs, under the names of the judged file.
    """

    file: OpenedFile
    reference: OpenedFile
    pairing: Pairing
    cases: tuple[Case, ...]

    def feeds(self, inputs: Feeds) -> Feeds:
        """Convert the inputs of a case for the judged file."""
        return _as_taken(self.file, inputs)

    def reference_feeds(self, inputs: Feeds) -> Feeds:
        """Convert the inputs of a case for the reference."""
        names = {port.name: other.name for port, other in self.pairing.inputs}
        return _as_taken(self.reference, {names[name]: values for name, values in inputs.items()})

    def outputs(self, inputs: Feeds) -> NamedOutputs:
        """Run the judged file."""
        return _run(self.file, self.feeds(inputs))

    def true_outputs(self, inputs: Feeds) -> NamedOutputs:
        """Run the reference, and return its outputs under the names of the judged file."""
        given = _run(self.reference, self.reference_feeds(inputs))
        return {name: given[other] for name, other in self.pairing.outputs.items()}

    @cached_property
    def references(self) -> tuple[NamedOutputs, ...]:
        """The true outputs of every case."""
        return tuple(case.run(self.true_outputs) for case in self.cases)


def open_two_files(
    path: Path,
    reference: Path,
    precision: str = FLOAT32.name,
    target: str | None = None,
    given: Sequence[Input] = (),
) -> TwoFiles:
    """Open two files and make inputs for both; see ``verify_against_file``."""
    record = precision_named(precision)
    if record.is_calibrated:
        raise InputError(
            f"{path} is verified in {record.name} on examples, because its error depends on real "
            f"inputs: compare it with its network, and give --calibration."
        )
    file = OpenedFile(path, open_file(path, record.name, target), read_graph(path))
    graph = read_graph(reference)
    truth = OpenedFile(reference, open_exactly(reference, graph.dtypes), graph)
    pairing = paired_files(file, truth)
    shared = shared_inputs(file, truth, pairing, given)
    cases = verification_cases(shared.inputs, shared.sizes)
    return TwoFiles(file, truth, pairing, cases)


def verify_against_file(
    path: Path,
    reference: Path,
    precision: str = FLOAT32.name,
    target: str | None = None,
    given: Sequence[Input] = (),
) -> Verification:
    """Run a file and compare its outputs with those of another file, of any format.

    Args:
        path: the judged file.
        reference: the file whose outputs are true. It runs in float32 on its format's own runtime,
            without the runtime's optimiser if that can be disabled.
        precision: one of ``slide_deploy.precisions``. It sets the limit, and the precision in which
            the judged file runs.
        target: name of the target that runs the judged file; None for the format's own.
        given: inputs with sizes that both files leave open, or with example values.

    Raises:
        InputError: if a file cannot be run, or if their inputs and outputs cannot be paired.
    """
    return verify_two_files(open_two_files(path, reference, precision, target, given), precision)


def verify_two_files(files: TwoFiles, precision: str = FLOAT32.name) -> Verification:
    """Compare every output of two opened files.

    Raises:
        InputError: if a file cannot run a case, or if outputs that were paired by order have
            different shapes.
    """
    if files.pairing.by_order:
        given, wanted = files.outputs(files.cases[0].inputs), files.references[0]
        if any(given[name].shape != wanted[name].shape for name in wanted):
            raise unlike(files.file, files.reference)
    session = files.file.session
    return parity.verify(
        files.outputs,
        files.cases,
        files.references,
        runtime=session.runtime,
        version=session.version,
        limit=precision_named(precision).limit,
        rounding=_ROUNDING,
    )


def locate_difference(
    files: TwoFiles, verification: Verification, precision: str = FLOAT32.name
) -> Divergence:
    """Find the first value of the judged file that its reference does not compute.

    Values are computed without the runtime's optimiser. If all of them agree and an output of the
    runtime does not, that output is the difference.

    Args:
        files: the two files.
        verification: their comparison. The first case that fails is run; if none does, the first.
        precision: one of ``slide_deploy.precisions``; its limit applies to values as to outputs.

    Raises:
        InputError: if the intermediates of a file cannot be read.
    """
    limit = precision_named(precision).limit
    failed = [each for each in verification.cases if not each.agreement.within(limit)]
    names = {each.name for each in failed}
    case = next((each for each in files.cases if each.name in names), files.cases[0])
    inputs = next(case.parts())
    feeds, reference_feeds = files.feeds(inputs), files.reference_feeds(inputs)
    ours = values_of(files.file.path, feeds)
    theirs = {**reference_feeds, **values_of(files.reference.path, reference_feeds)}
    found = first_difference(files.file.graph, ours, tuple(theirs.values()), limit)
    if failed and found.first_wrong is None:
        return replace(found, first_wrong=failed[0].output)
    return found


def _run(file: OpenedFile, feeds: Feeds) -> NamedOutputs:
    """Run one of the two files; the error of a runtime names no file."""
    try:
        return file.session(feeds)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error


def _as_taken(file: OpenedFile, feeds: Feeds) -> Feeds:
    """Convert pictures (batch, channels, height, width) to the layout that a file declares."""
    picture = file.picture
    if picture is None or picture.input not in feeds:
        return feeds
    return {**feeds, picture.input: picture.given(feeds[picture.input])}
