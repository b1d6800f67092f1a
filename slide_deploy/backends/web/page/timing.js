// Measure latency in a browser: find the timer's step, warm up until the latency has settled, sample.
//
// Arguments are in milliseconds, samples in nanoseconds. The steps are those of the benchmark of other
// targets, but each sample is longer, because browsers make their timers coarse to prevent timing
// attacks.

// The largest timer step that is measured: a timer that has not advanced for so long is unusable.
const LONGEST_STEP = 250;
const STEPS = 9;

const SETTLED_BLOCKS = 4;
const SETTLED_SPREAD = 1.05;
const BLOCK_CALLS = 3;
const BLOCK_MILLISECONDS = 50;
// Length of a sample in timer steps. The timer then hides at most 1 %.
const STEPS_OF_A_SAMPLE = 100;
const SHORTEST_SAMPLE = 0.02;
// After a pause the caches are cold and the threads asleep, so these calls are not recorded.
const SETTLE_CALLS = 2;
const SETTLE_MILLISECONDS = 20;
const LEAST_SAMPLES = 3;

/** Median step of the browser's timer, as measured, in milliseconds. */
export function timerStep(now = () => performance.now()) {
  const steps = [];
  while (steps.length < STEPS) {
    const start = now();
    let next = start;
    // The turns are limited because a timer that never advances would never end the loop.
    for (let turns = 0; next === start && turns < 1e8; turns += 1) next = now();
    if (next === start) return LONGEST_STEP;
    steps.push(next - start);
    if (steps.length > 2 && next - start > 20) break;
  }
  steps.sort((a, b) => a - b);
  return Math.min(LONGEST_STEP, steps[steps.length >> 1]);
}

/** Median of some numbers. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Call until the latency has settled, for at most `limit` seconds but at least one block. */
export async function warmUp(call, limit, now = () => performance.now()) {
  const start = now();
  const blocks = [];
  let calls = 0;
  for (;;) {
    // The whole block is timed at once, because one call may be shorter than the timer's step.
    const before = now();
    let count = 0;
    while (count < BLOCK_CALLS || now() - before < BLOCK_MILLISECONDS) {
      await call();
      count += 1;
    }
    calls += count;
    blocks.push((now() - before) / count);
    const last = blocks.slice(-SETTLED_BLOCKS);
    const stable =
      last.length === SETTLED_BLOCKS && Math.max(...last) <= SETTLED_SPREAD * Math.min(...last);
    const seconds = (now() - start) / 1000;
    if (stable || seconds >= limit) {
      // The fastest block decides: samples sized for a disturbed, slower one would be too short.
      return { calls, seconds, stable, latency: Math.min(...blocks) };
    }
  }
}

/** Number of calls that make one sample long enough for the timer; latencies in milliseconds. */
export function repetitionsOf(latency, step) {
  const shortest = Math.max(SHORTEST_SAMPLE, STEPS_OF_A_SAMPLE * step);
  return Math.max(1, Math.ceil(shortest / Math.max(latency, 1e-6)));
}

/** Sample for some seconds. Returns the seconds from the first call to the last, and samples in ns. */
export async function sample(call, seconds, repetitions, now = () => performance.now()) {
  const start = now();
  for (let count = 0; count < SETTLE_CALLS && now() - start < SETTLE_MILLISECONDS; count += 1) {
    await call();
  }
  const first = now();
  const deadline = first + seconds * 1000;
  const samples = [];
  let end = first;
  while (end < deadline || samples.length < LEAST_SAMPLES) {
    const before = now();
    for (let count = 0; count < repetitions; count += 1) await call();
    end = now();
    samples.push(Math.round(((end - before) / repetitions) * 1e6));
  }
  return { seconds: (end - first) / 1000, samples };
}
