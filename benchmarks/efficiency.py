"""How much of what the processor can do a measurement reaches.

The roofline of S. Williams, A. Waterman, D. Patterson (CACM 52(4), 2009): no program is faster than
its arithmetic at the highest rate of arithmetic, or its data at the highest rate of memory,
whichever takes longer.

    best   = max(images * macs / macs_per_second, (traffic - cache) / bytes_per_second)
    share  = best / median time of a call
    images = batch * streams, since that many are at work during the time of one call

``traffic`` is counted once, however many images share the weights, less what stays in the largest
cache from one call to the next: a lower bound. So the share is a lower bound too; activations that
leave the caches, softmax and normalisation, which cost time and are not counted, make it smaller.
Above 1 the limit is wrong, and `warning_of` says so.
"""

from statistics import median

from benchmarks.record import Artifact, Limits, Measurement

NANOSECONDS = 1e9


def share_of_limit(
    measurement: Measurement, limits: Limits | None, *, processor: bool
) -> float | None:
    """Best possible time divided by the median time; 1 is the most that can be.

    Args:
        measurement: of one candidate.
        limits: measured in the same run.
        processor: whether the candidate's target runs on the CPU, whose limits they are.

    Returns:
        None where it is not known: another device, no samples, no counted costs, limits of another
        number of threads, or an arithmetic other than the float32 that the limits are measured in.
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
    """A sentence on a share that cannot be; None for one that is shown as 100 % at most."""
    if round(share, 2) <= 1:
        return None
    product = f" ({limits.product})" if limits.product else ""
    return (
        f"the limit was measured too low: the runtime reaches {share:.0%} of it; its kernels are "
        f"faster than the products that were tried{product}, or the machine was busy with other "
        f"work while these ran"
    )


def _best_seconds(artifact: Artifact, images: int, limits: Limits) -> float | None:
    """The time that no program can beat; from both limits, or from the one that is known."""
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
