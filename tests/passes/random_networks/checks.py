"""What every pass must leave as it was, whatever the program."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram

from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.network import NetworkCall
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_pass, run_passes
from slide_deploy.program.editing import Editor, duplicate
from slide_deploy.program.traced import call, user_outputs
from slide_deploy.program.tracing import open_dimensions, traced
from tests.passes.random_networks.builder import RandomNetwork

# Of the largest value. A sum of some hundred products in another order is off by some 1e-15 in
# float64, and a normalisation of values that are nearly alike makes an error some hundred times as
# large. A weight that is off by rounding to float32 makes one of 1e-8.
LIMIT = 1e-11


@dataclass(frozen=True)
class Source:
    """A traced program with its answers, and all that no pass may change in it.

    Attributes:
        program: as it was traced.
        inputs: tensors for its input, one or two.
        wanted: the answers to each.
        cleaned: a copy without what nobody reads.
        weights: copies of all tensors, by name.
        text: of the program.
        cleaned_text: of ``cleaned``.
    """

    program: ExportedProgram
    inputs: tuple[Tensor, ...]
    wanted: tuple[tuple[Tensor, ...], ...]
    cleaned: ExportedProgram
    weights: dict[str, Tensor]
    text: str
    cleaned_text: str


def traced_network(network: RandomNetwork, is_open: bool) -> ExportedProgram:
    """The program of a network, as the project traces it.

    Args:
        network: in float64.
        is_open: whether its batch is open.
    """
    taken = Input("x", network.example.numpy(), {0: BATCH_NAME} if is_open else {})
    outputs = tuple(f"answer_{number}" for number in range(len(network.answers)))
    call = NetworkCall.of_one_tensor(len(outputs))
    deployable = Deployable(network, (taken,), outputs, call, Origin("random", "random", "", ""))
    return traced(deployable, open_dimensions(deployable))


def source_of(network: RandomNetwork, is_open: bool) -> Source:
    """A network traced, with its answers to one input, or to two of other batches."""
    program = traced_network(network, is_open)
    inputs = [network.example]
    if is_open:
        inputs.append(torch.cat((network.example.flip(0), network.example[:1] * 0.5)))
    wanted = tuple(answers(program, each) for each in inputs)
    # Of the trace as well, or no pass would be held against the network.
    with torch.no_grad():
        hold(wanted[0], network(inputs[0]), "tracing")
    cleaned = duplicate(program)
    editor = Editor(cleaned)
    editor.clean()
    editor.finish()
    weights = {name: tensor.clone() for name, tensor in held(program).items()}
    return Source(program, tuple(inputs), wanted, cleaned, weights, text(program), text(cleaned))


def held(program: ExportedProgram) -> dict[str, Tensor]:
    """Every tensor that a program holds, by name."""
    constants = program.constants.items()
    return dict(program.state_dict) | {
        name: each for name, each in constants if isinstance(each, Tensor)
    }


def text(program: ExportedProgram) -> str:
    """The operators and their arguments, inputs and answers."""
    signature = program.graph_signature
    lines = [node.format_node() or "" for node in program.graph.nodes]
    return "\n".join((*lines, str(signature.input_specs), str(signature.output_specs)))


def answers(program: ExportedProgram, x: Tensor) -> tuple[Tensor, ...]:
    """What a program computes; its graph is run as it stands."""
    tensors = held(program)
    given = [
        x if spec.target is None else tensors[spec.target]
        for spec in program.graph_signature.input_specs
    ]
    with torch.no_grad():
        return tuple(program.graph_module(*given))


def hold(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str) -> float:
    """Compare answers; gives the largest difference, of the largest value where that exceeds 1."""
    assert len(found) == len(wanted), f"{what}: {len(found)} answers in place of {len(wanted)}"
    worst = 0.0
    for place, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert ours.shape == theirs.shape, f"{what}: answer {place} is {tuple(ours.shape)}"
        assert ours.dtype == theirs.dtype, f"{what}: answer {place} is {ours.dtype}"
        scale = max(1.0, float(theirs.abs().max()))
        error = float((ours - theirs).abs().max()) / scale
        assert error <= LIMIT, f"{what}: answer {place} is off by {error:.1e}"
        worst = max(worst, error)
    return worst


# parallel_branches decides once for all branches what pays: what it made may be merged further.
GOES_ON = frozenset({"parallel_branches"})
# Operators that a pass never makes more of; all of them where it says nothing.
NEVER_MORE = {
    "parallel_branches": ("conv1d", "conv2d", "conv3d"),
    "constants": (),
    "duplicates": (),
}


def hold_each_alone(source: Source, passes: Sequence[str]) -> set[str]:
    """Run each pass alone, and once more if it changed something: then nothing is left to do.

    Gives the names of those that changed something. One that changed nothing left the program as
    it was, which is held: the next one takes the same copy.
    """
    fired = set()
    editor = Editor(duplicate(source.cleaned))
    for name in passes:
        before = state(editor.program)
        report = run_pass(editor, name)
        if not report.changes:
            hold_reports((report,), name)
            assert state(editor.program) == before, f"{name} made changes and does not say so"
            continue
        fired.add(name)
        editor.finish()
        hold_rewritten(source, editor.program, (report,), name)
        kinds = NEVER_MORE.get(name)
        if kinds is not None:
            assert operators(editor.program, kinds) <= operators(source.cleaned, kinds), name
        if name not in GOES_ON:
            before = state(editor.program)
            again = run_pass(editor, name)
            assert not again.changes, f"{name}, a second time: {again.changes}"
            assert state(editor.program) == before, f"{name} changed something a second time"
        editor = Editor(duplicate(source.cleaned))
    hold_untouched(source, "a pass")
    return fired


def state(program: ExportedProgram) -> list[object]:
    """What a program is at the moment; it is equal as long as nobody changes the program."""
    signature = program.graph_signature
    nodes = [(node, node.target, node.args, node.kwargs) for node in program.graph.nodes]
    weights = [(name, id(tensor), tensor._version) for name, tensor in held(program).items()]
    return [nodes, weights, str(signature.input_specs), str(signature.output_specs)]


def hold_all_together(source: Source, passes: Sequence[str]) -> set[str]:
    """Run passes one after the other, twice; gives the names of those that changed something.

    The second time an early pass may find what a later one made: a bias that is added apart and
    then meets another constant, projections on maps that stand one behind the other, or the 1 that
    absorbed_biases lets a normalisation add. So what is held of a second run is the answers.
    """
    program, reports = run_passes(source.program, passes)
    what = " + ".join(passes)
    hold_rewritten(source, program, reports, what)
    again, _ = run_passes(program, passes)
    for x, wanted in zip(source.inputs, source.wanted, strict=True):
        hold(answers(again, x), wanted, f"{what}, a second time,")
    return {report.name for report in reports if report.changes}


def operators(program: ExportedProgram, kinds: Sequence[str] = ()) -> int:
    """How many operators a program has: of some kinds, or all."""
    names = (found.name for node in program.graph.nodes if (found := call(node)) is not None)
    return sum(not kinds or name in kinds for name in names)


def hold_rewritten(
    source: Source, program: ExportedProgram, reports: Sequence[PassReport], what: str
) -> None:
    """Everything that must be true of a program after passes."""
    hold_reports(reports, what)
    changed = any(report.changes for report in reports)
    is_other = text(program) != source.cleaned_text
    assert changed or not is_other, f"{what} changed the program and does not say so"
    assert is_other or not changed, f"{what} says that it changed what is as before: {reports}"
    if not is_other:
        return
    program.validate()
    shapes = [str(tuple(each.shape)) for each in user_outputs(program)]
    assert shapes == [str(tuple(each.shape)) for each in user_outputs(source.program)], what
    for x, wanted in zip(source.inputs, source.wanted, strict=True):
        hold(answers(program, x), wanted, what)
    hold_untouched(source, what)


def hold_reports(reports: Sequence[PassReport], what: str) -> None:
    """What passes say can be read, and no error that they measured is more than rounding."""
    for report in reports:
        for change in report.changes:
            assert change.layer and change.what
            assert change.error is None or change.error <= LIMIT, f"{what}: {change}"
        assert all(each.layer and each.why for each in report.refusals)


def hold_untouched(source: Source, what: str) -> None:
    """The program that the passes were given is what it was, its weights included."""
    assert text(source.program) == source.text, f"{what} changed the program that it was given"
    now = held(source.program)
    assert now.keys() == source.weights.keys(), what
    for name, tensor in source.weights.items():
        assert torch.equal(now[name], tensor), f"{what} changed the numbers of {name}"
