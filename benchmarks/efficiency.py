"""Stand-in: how near a measurement comes to what the processor can do. To be replaced."""

from statistics import median

from benchmarks.record import Limits, Measurement


def share_of_limit(measurement: Measurement, limits: Limits | None) -> float | None:
    """Share of the highest speed that the machine's limits allow; None where it is not known."""
    artifact = measurement.artifact
    samples = [sample for item in measurement.rounds for sample in item.samples]
    if limits is None or artifact is None or not artifact.macs or not samples:
        return None
    batch = measurement.candidate.configuration.batch
    rate = artifact.macs * batch / (median(samples) / 1e9)
    return rate / median(limits.macs_per_second) if limits.macs_per_second else None
