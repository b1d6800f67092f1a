// Warms up until the latency has settled, then samples for a while; milliseconds in, nanoseconds out.
//
// The same steps as the benchmark of other targets takes. Only the length of a sample differs: the
// timers of browsers are coarse.

const SETTLED_BLOCKS = 4;
const SETTLED_SPREAD = 1.05;
const BLOCK_CALLS = 3;
const BLOCK_MILLISECONDS = 50;
// A sample is as long as so many steps of the timer: what the timer hides is 1 %.
const STEPS_OF_A_SAMPLE = 100;
const SHORTEST_SAMPLE = 0.02;
// After a rest the caches are cold and the threads asleep: these calls are not recorded.
const SETTLE_CALLS = 2;
const SETTLE_MILLISECONDS = 20;
const LEAST_SAMPLES = 3;

/** The middle of some numbers. */
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
    // The whole block is timed at once, as one call may be shorter than the timer can tell.
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
      // The fastest: samples that were cut for a disturbed one would be too short for the timer.
      return { calls, seconds, stable, latency: Math.min(...blocks) };
    }
  }
}

/** Calls that one sample must hold to be long enough for the timer; latencies in milliseconds. */
export function repetitionsOf(latency, step) {
  const shortest = Math.max(SHORTEST_SAMPLE, STEPS_OF_A_SAMPLE * step);
  return Math.max(1, Math.ceil(shortest / Math.max(latency, 1e-6)));
}

/** Call for some seconds: seconds from the first call to the end of the last one, and samples. */
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
