// Bars of medians, each with the range of 90 % of its calls.

import { shape } from "./elements.js";
import { milliseconds } from "./figures.js";

const WIDTH = 340;
const ROW = 50;
const BAR = 12;

/** Draw [{name, figures}] as an SVG that fills the width of its parent. */
export function bars(rows) {
  // Limited, as one slow call would shrink every bar to a point.
  const longest = Math.max(...rows.map(({ figures }) => figures.median)) * 1.35;
  const scale = (value) => (Math.min(value, longest) / longest) * WIDTH;
  const parts = rows.flatMap(({ name, figures }, index) => {
    const top = index * ROW;
    const middle = top + 26 + BAR / 2;
    const label = shape("text", { x: 0, y: top + 16 }, short(name));
    const value = shape(
      "text",
      { x: WIDTH, y: top + 16, "text-anchor": "end" },
      milliseconds(figures.median),
    );
    const [left, right] = [scale(figures.low), scale(figures.high)];
    return [
      label,
      value,
      shape("rect", { class: "track", x: 0, y: top + 26, width: WIDTH, height: BAR, rx: 3 }),
      shape("rect", {
        class: "bar",
        x: 0,
        y: top + 26,
        width: Math.max(2, scale(figures.median)),
        height: BAR,
        rx: 3,
      }),
      shape("line", { class: "range", x1: left, x2: right, y1: middle, y2: middle }),
      // A range beyond the picture has no end mark.
      ...(figures.high > longest ? [left] : [left, right]).map((x) =>
        shape("line", { class: "range", x1: x, x2: x, y1: middle - 4, y2: middle + 4 }),
      ),
    ];
  });
  const note = shape("text", { class: "soft", x: 0, y: rows.length * ROW + 14 }, "line: 90 % of calls");
  const height = rows.length * ROW + 22;
  const label = rows.map(({ name, figures }) => `${name}: ${milliseconds(figures.median)} ms`);
  return shape(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label.join("; ") },
    ...parts,
    note,
  );
}

function short(name) {
  return name.length > 36 ? `${name.slice(0, 20)}…${name.slice(-15)}` : name;
}
