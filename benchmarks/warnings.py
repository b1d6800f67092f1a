"""Stand-in: doubts about a measurement, in words. To be replaced."""

from statistics import median

from benchmarks.record import Measurement


def doubts(measurement: Measurement) -> tuple[str, ...]:
    """Sentences on what makes the figures less trustworthy than they look."""
    found = []
    if measurement.warm_up and not measurement.warm_up.stable:
        found.append("The latency had not settled when the warm-up ended.")
    medians = [median(item.samples) for item in measurement.rounds if item.samples]
    if len(medians) > 3 and medians[-1] > 1.1 * medians[0]:
        found.append(f"The last round was {medians[-1] / medians[0]:.2f} times slower.")
    return tuple(found)
