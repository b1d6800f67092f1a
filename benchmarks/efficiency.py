"""Share of the processor's peak rates that a measurement reaches.

The roofline model (S. Williams, A. Waterman, D. Patterson, CACM 52(4), 2009): a program takes at
least as long as its arithmetic at the peak rate of arithmetic, and as its memory traffic at the
peak rate of memory.

    best   = max(images * macs / macs_per_second, (traffic - cache) / bytes_per_second)
    share  = best / median time of a call
    images = batch * streams, as that many are computed during one call

``traffic`` is a lower bound: it is counted once for all images, less what stays in the largest
cache between calls. So the share is a lower bound too. Activations that leave the caches, softmax
and normalisation take time that is not counted. A share above 1 means that the limit was measured
too low, which `warning_of` reports.
"""

from statistics import median

from benchmarks.record import Artifact, Limits, Measurement

NANOSECONDS = 1e9


def share_of_limit(
    measurement: Measurement, limits: Limits | None, *, processor: bool
) -> float | None:
    """Return the best possible time divided by the median time: at most 1.

    Args:
        measurement: Measurement of one candidate.
        limits: Peak rates of the CPU, measured in the same run.
        processor: Whether the candidate's target runs on the CPU.

    Returns:
        None where it is unknown: the target is not the CPU, there are no samples, costs were not
        counted, the limits have another number of threads, or the arithmetic is not float32.
    """
    seconds = _median_seconds(measurement)
    configuration = measurement.candidate.configuration
    threads = configuration.threads * configuration.streams
    if not processor or limits is None or limits.threads != threads:
        return None
    if configuration.precision != "float32" or measurement.artifact is None or seconds is None:
        return None
    best = _best_seconds(measurement.artifact, configuration.images * configuration.streams, limits)
    return None if best is None else best / seconds


def warning_of(share: float, limits: Limits) -> str | None:
    """Return a warning for a share that rounds to more than 100 %; None otherwise."""
    if round(share, 2) <= 1:
        return None
    product = f" ({limits.product})" if limits.product else ""
    return (
        f"the limit was measured too low, as the runtime reaches {share:.0%} of it: its kernels "
        f"are faster than the matmuls that were tried{product}, or the machine was busy with other "
        f"work while those ran"
    )


def _best_seconds(artifact: Artifact, images: int, limits: Limits) -> float | None:
    """Return the least possible seconds of a call, from both limits or the one that is known."""
    bounds = []
    if artifact.macs is not None and limits.macs_per_second:
        bounds.append(images * artifact.macs / median(limits.macs_per_second))
    if artifact.traffic is not None and limits.bytes_per_second:
        beyond = max(0, artifact.traffic - (limits.cache or 0))
        bounds.append(beyond / median(limits.bytes_per_second))
    return max(bounds, default=0.0) or None


def _median_seconds(measurement: Measurement) -> float | None:
    samples = measurement.pooled_samples
    seconds = median(samples) / NANOSECONDS if samples else 0.0
    return seconds if seconds > 0 else None
