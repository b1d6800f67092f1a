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
from slide_deploy.terminal.printable import counted

NANOSECONDS = 1e9


def share_of_limit(
    measurement: Measurement, limits: Limits | None, *, processor: bool
) -> float | str:
    """Return the best possible time divided by the median time: at most 1.

    Args:
        measurement: Measurement of one candidate.
        limits: Peak rates of the CPU, measured in the same run.
        processor: Whether the candidate's target runs on the CPU.

    Returns:
        A clause on the reason where the share is unknown.
    """
    samples = measurement.pooled_samples
    seconds = median(samples) / NANOSECONDS if samples else 0.0
    if measurement.error or not seconds > 0:
        return "no call was measured"
    if limits is None:
        return "the machine's limits were not measured"
    if not processor:
        return "the limits are those of the processor"
    configuration = measurement.candidate.configuration
    threads = configuration.threads * configuration.streams
    if threads != limits.threads or configuration.precision != "float32":
        return f"the limits are for {counted(limits.threads, 'thread')} in float32"
    images = configuration.images * configuration.streams
    best = _best_seconds(measurement.artifact, images, limits)
    return "its operations were not counted" if best is None else best / seconds


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


def _best_seconds(artifact: Artifact | None, images: int, limits: Limits) -> float | None:
    """Return the least possible seconds of a call, from both limits or the one that is known."""
    if artifact is None:
        return None
    bounds = []
    if artifact.macs is not None and limits.macs_per_second:
        bounds.append(images * artifact.macs / median(limits.macs_per_second))
    if artifact.traffic is not None and limits.bytes_per_second:
        beyond = max(0, artifact.traffic - (limits.cache or 0))
        bounds.append(beyond / median(limits.bytes_per_second))
    return max(bounds, default=0.0) or None
