// Median and range of the samples.

import { median } from "./timing.js";

/** Median, 5th and 95th percentile of all calls, in milliseconds. */
export function figuresOf({ rounds }) {
  const samples = rounds.flatMap((round) => round.samples).sort((a, b) => a - b);
  if (!samples.length) return null;
  const at = (share) => samples[Math.min(samples.length - 1, Math.floor(share * samples.length))];
  return { median: median(samples) / 1e6, low: at(0.05) / 1e6, high: at(0.95) / 1e6 };
}

/** Format milliseconds with three digits. */
export function milliseconds(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
