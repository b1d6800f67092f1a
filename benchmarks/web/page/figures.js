// What samples say: a median, and where most calls lie.

import { median } from "./timing.js";

/** Milliseconds: the median of all calls, and what 5 % and 95 % of them stay below. */
export function figuresOf({ rounds }) {
  const samples = rounds.flatMap((round) => round.samples).sort((a, b) => a - b);
  if (!samples.length) return null;
  const at = (share) => samples[Math.min(samples.length - 1, Math.floor(share * samples.length))];
  return { median: median(samples) / 1e6, low: at(0.05) / 1e6, high: at(0.95) / 1e6 };
}

/** Milliseconds with three digits. */
export function milliseconds(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
