"""The race of one network: our export, and the file of each exporter folded and as it is."""

from dataclasses import dataclass
from statistics import median

from benchmarks.record import Measurement, Run
from benchmarks.statistics import Estimate, paired_ratio
from slide_deploy.errors import InputError

# Exporters of PyTorch, by the name of their file; whether each is the one of today.
EXPORTERS = {"torchscript": False, "dynamo": True}
TARGETS = ("onnxruntime:cpu", "openvino:cpu")
OURS, FOLDED, AS_IT_IS = "ours", "folded", "as it is"
# Published networks with slide attention, one of each family.
NETWORKS = (
    "slide_swin_tiny",
    "slide_pvt_tiny",
    "slide_pvt_v2_b1",
    "slide_cswin_tiny",
    "slide_nat_mini",
)
# Largest accepted ratio of a folded file's time to that of our export.
MOST = 1.03


@dataclass(frozen=True)
class FoldedStanding:
    """The file of one exporter on one target.

    Attributes:
        network: Name of the network.
        target: Target that ran it.
        exporter: Name of the exporter.
        seconds: Median of our export of the checkpoint.
        folded: Time of the folded file / time of our export.
        as_it_is: Time of the file as it was exported / time of our export.
    """

    network: str
    target: str
    exporter: str
    seconds: float
    folded: Estimate
    as_it_is: Estimate

    @property
    def verdict(self) -> str:
        """Comparison of the folded file's interval with the limit, in words."""
        low, high = self.folded.interval.low, self.folded.interval.high
        if low > MOST:
            return "too slow"
        return "reached" if high <= MOST else "cannot tell"


def suite_of(network: str, checkpoint: str) -> str:
    """Return the suite of a network as TOML, beside its checkpoint and the exporters' files."""
    entries = [(OURS, "checkpoint", checkpoint)]
    for exporter in EXPORTERS:
        path = f"{network}.{exporter}.onnx"
        entries += [
            (f"{exporter} {FOLDED}", "checkpoint", path),
            (f"{exporter} {AS_IT_IS}", "file", path),
        ]
    targets = ", ".join(f'"{target}"' for target in TARGETS)
    lines = [f'name = "{network} exported elsewhere"', f"targets = [{targets}]"]
    for name, key, path in entries:
        lines += ["", "[[candidate]]", f'name = "{name}"', f'{key} = "{path}"']
    return "\n".join(lines) + "\n"


def standings(network: str, run: Run) -> tuple[FoldedStanding, ...]:
    """Compare the files of a run with our export, for each target and exporter.

    Raises:
        InputError: A candidate is missing, failed or has too few rounds.
    """
    measured = {each.candidate.name: each for each in run.measurements}

    def find(name: str, target: str) -> Measurement:
        wanted = f"{name} on {target}"
        if wanted not in measured:
            raise InputError(f"The run of {network} lacks {wanted}: run its suite again.")
        return measured[wanted]

    def ratio(name: str, target: str) -> Estimate:
        ours, other = find(OURS, target), find(name, target)
        found = paired_ratio(other.samples, ours.samples)
        if found is None:
            failed = next((each for each in (ours, other) if each.error), other)
            raise InputError(
                f"{failed.candidate.name} of {network} has no ratio "
                f"({failed.error or 'too few rounds'}): race it again."
            )
        return found

    return tuple(
        FoldedStanding(
            network,
            target,
            exporter,
            median(find(OURS, target).pooled_samples) / 1e9,
            ratio(f"{exporter} {FOLDED}", target),
            ratio(f"{exporter} {AS_IT_IS}", target),
        )
        for target in TARGETS
        for exporter in EXPORTERS
    )
