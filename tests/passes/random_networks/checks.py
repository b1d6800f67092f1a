"""Check what every pass must preserve in any program."""

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

# Relative to the largest value. In float64, summing a hundred products in another order costs about
# 1e-15, and a normalisation of almost equal values amplifies that a few hundred times. Rounding one
# weight to float32 costs 1e-8.
LIMIT = 1e-11


@dataclass(frozen=True)
class Source:
    """A traced program with its outputs, and everything that no pass may change in it.

    Attributes:
        program: the traced program.
        inputs: one or two tensors for its input.
        wanted: the outputs for each.
        cleaned: a copy without dead code.
        weights: copies of all tensors, by name.
        text: text of the program.
        cleaned_text: text of ``cleaned``.
    """

    program: ExportedProgram
    inputs: tuple[Tensor, ...]
    wanted: tuple[tuple[Tensor, ...], ...]
    cleaned: ExportedProgram
    weights: dict[str, Tensor]
    text: str
    cleaned_text: str


def traced_network(network: RandomNetwork, is_open: bool) -> ExportedProgram:
    """Trace a network as the project does.

    Args:
        network: the network in float64.
        is_open: whether its batch is open.
    """
    taken = Input("x", network.example.numpy(), {0: BATCH_NAME} if is_open else {})
    outputs = tuple(f"output_{number}" for number in range(len(network.outputs)))
    call = NetworkCall.of_one_tensor(len(outputs))
    deployable = Deployable(network, (taken,), outputs, call, Origin("random", "random", "", ""))
    return traced(deployable, open_dimensions(deployable))


def source_of(network: RandomNetwork, is_open: bool) -> Source:
    """Trace a network and compute its outputs for one input, or for two batch sizes."""
    program = traced_network(network, is_open)
    inputs = [network.example]
    if is_open:
        inputs.append(torch.cat((network.example.flip(0), network.example[:1] * 0.5)))
    wanted = tuple(outputs_of(program, each) for each in inputs)
    # Tracing is checked as well, or no pass would be compared with the network itself.
    with torch.no_grad():
        hold(wanted[0], network(inputs[0]), "tracing")
    cleaned = duplicate(program)
    editor = Editor(cleaned)
    editor.clean()
    editor.finish()
    weights = {name: tensor.clone() for name, tensor in held(program).items()}
    return Source(program, tuple(inputs), wanted, cleaned, weights, text(program), text(cleaned))


def held(program: ExportedProgram) -> dict[str, Tensor]:
    """Every tensor of a program, by name."""
    constants = program.constants.items()
    return dict(program.state_dict) | {
        name: each for name, each in constants if isinstance(each, Tensor)
    }


def text(program: ExportedProgram) -> str:
    """The operators and their arguments, inputs and outputs, as text."""
    signature = program.graph_signature
    lines = [node.format_node() or "" for node in program.graph.nodes]
    return "\n".join((*lines, str(signature.input_specs), str(signature.output_specs)))


def outputs_of(program: ExportedProgram, x: Tensor) -> tuple[Tensor, ...]:
    """Run the graph of a program in its current state."""
    tensors = held(program)
    given = [
        x if spec.target is None else tensors[spec.target]
        for spec in program.graph_signature.input_specs
    ]
    with torch.no_grad():
        return tuple(program.graph_module(*given))


def hold(found: Sequence[Tensor], wanted: Sequence[Tensor], what: str) -> float:
    """Compare outputs; returns the largest difference, relative to the largest value above 1."""
    assert len(found) == len(wanted), f"{what}: {len(found)} outputs in place of {len(wanted)}"
    worst = 0.0
    for place, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert ours.shape == theirs.shape, f"{what}: output {place} is {tuple(ours.shape)}"
        assert ours.dtype == theirs.dtype, f"{what}: output {place} is {ours.dtype}"
        scale = max(1.0, float(theirs.abs().max()))
        error = float((ours - theirs).abs().max()) / scale
        assert error <= LIMIT, f"{what}: output {place} is off by {error:.1e}"
        worst = max(worst, error)
    return worst


# parallel_branches decides only once which branches to merge: a second run may merge its results.
GOES_ON = frozenset({"parallel_branches"})
# Operators whose number a pass never increases; an empty tuple stands for all operators.
NEVER_MORE = {
    "parallel_branches": ("conv1d", "conv2d", "conv3d"),
    "constants": (),
}


def hold_each_alone(source: Source, passes: Sequence[str]) -> set[str]:
    """Run each pass alone, and run it again if it changed something: the second run must not.

    Returns the names of the passes that changed something. A pass without changes must leave the
    program as it was, so the next pass reuses the same copy.
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
    """A snapshot that is equal as long as the program does not change."""
    signature = program.graph_signature
    nodes = [(node, node.target, node.args, node.kwargs) for node in program.graph.nodes]
    weights = [(name, id(tensor), tensor._version) for name, tensor in held(program).items()]
    return [nodes, weights, str(signature.input_specs), str(signature.output_specs)]


def hold_all_together(source: Source, passes: Sequence[str]) -> set[str]:
    """Run passes one after the other, twice; returns the names of those that changed something.

    In the second run an early pass may match the result of a later one: a separate bias that meets
    another constant, successive projections in NCHW, or the 1 that absorbed_biases adds to a
    normalisation. So the second run is only required to keep the outputs.
    """
    program, reports = run_passes(source.program, passes)
    what = " + ".join(passes)
    hold_rewritten(source, program, reports, what)
    again, _ = run_passes(program, passes)
    for x, wanted in zip(source.inputs, source.wanted, strict=True):
        hold(outputs_of(again, x), wanted, f"{what}, a second time,")
    return {report.name for report in reports if report.changes}


def operators(program: ExportedProgram, kinds: Sequence[str] = ()) -> int:
    """Count the operators of some kinds, or all operators."""
    names = (found.name for node in program.graph.nodes if (found := call(node)) is not None)
    return sum(not kinds or name in kinds for name in names)


def hold_rewritten(
    source: Source, program: ExportedProgram, reports: Sequence[PassReport], what: str
) -> None:
    """Check everything that must hold for a program after passes."""
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
        hold(outputs_of(program, x), wanted, what)
    hold_untouched(source, what)


def hold_reports(reports: Sequence[PassReport], what: str) -> None:
    """Check that reports are complete and that no measured error exceeds rounding."""
    for report in reports:
        for change in report.changes:
            assert change.layer and change.what
            assert change.error is None or change.error <= LIMIT, f"{what}: {change}"
        assert all(each.layer and each.why for each in report.refusals)


def hold_untouched(source: Source, what: str) -> None:
    """Check that the original program and its weights are unchanged."""
    assert text(source.program) == source.text, f"{what} changed the program that it was given"
    now = held(source.program)
    assert now.keys() == source.weights.keys(), what
    for name, tensor in source.weights.items():
        assert torch.equal(now[name], tensor), f"{what} changed the numbers of {name}"
