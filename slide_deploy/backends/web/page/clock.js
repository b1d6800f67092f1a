// What the browser's timer can tell: browsers make it coarse, against spying by timing.

// A timer that has not moved for so long is as coarse as it is bad.
const LONGEST_STEP = 250;
const STEPS = 9;

/** Milliseconds of the timer's step, as measured: the middle one of some. */
export function timerStep(now = () => performance.now()) {
  const steps = [];
  while (steps.length < STEPS) {
    const start = now();
    let next = start;
    // Counted too: a timer that stands still would never end the loop.
    for (let turns = 0; next === start && turns < 1e8; turns += 1) next = now();
    if (next === start) return LONGEST_STEP;
    steps.push(next - start);
    if (steps.length > 2 && next - start > 20) break;
  }
  steps.sort((a, b) => a - b);
  return Math.min(LONGEST_STEP, steps[steps.length >> 1]);
}
