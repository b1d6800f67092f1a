// The page: starts and stops the race, and shows its progress and results.

import { byId, element, showText } from "./elements.js";
import { hint, machineFacts, shownFacts } from "./facts.js";
import { figuresOf, milliseconds } from "./figures.js";
import { bars } from "./plot.js";
import { sentence } from "./process.js";
import { proofText, Race } from "./race.js";
import { download, handBack, resultOf } from "./result.js";
import { readPlan, source } from "./source.js";

const STATES = {
  waiting: "waiting",
  proving: "comparing with the trained network…",
  "warming up": "warming up…",
  stopped: "stopped",
};
let wasHidden = false;

async function main() {
  const plan = await readPlan();
  const machine = await machineFacts();
  const [first] = plan.candidates;
  for (const [name, text] of await shownFacts(machine, first?.threads ?? null)) {
    byId("facts").append(element("dt", {}, name), element("dd", {}, text));
  }
  showText("hint", hint());
  document.addEventListener("visibilitychange", () => {
    wasHidden ||= document.hidden;
  });
  byId("start").onclick = () => measure(plan, machine);
  byId("again").onclick = () => measure(plan, machine);
  show(new Race(plan, source, () => {}));
  if (plan.post) await measure(plan, machine);
  else {
    byId("start").hidden = false;
    showText("status", `Ready: about ${duration(plan)}. Keep this page in front.`);
  }
}

async function measure(plan, machine) {
  const started = new Date().toISOString().slice(0, 19) + "+00:00";
  const race = new Race(plan, source, (text) => {
    showText("status", text);
    show(race);
  });
  for (const id of ["start", "again", "download", "handed"]) byId(id).hidden = true;
  byId("stop").hidden = false;
  byId("stop").onclick = () => race.stop();
  wasHidden = document.hidden;
  const light = await navigator.wakeLock?.request("screen").catch(() => null);
  await race.run();
  await light?.release();
  byId("stop").hidden = true;
  const facts = wasHidden ? { ...machine, "page hidden": "for a part of the run" } : machine;
  const result = resultOf(plan, race, facts, started);
  byId("progress").value = 1;
  show(race);
  showText("status", verdict(race));
  byId("download").hidden = false;
  byId("download").onclick = () => download(result);
  byId("again").hidden = Boolean(plan.post) && !race.isStopped;
  if (plan.post && !race.isStopped) await giveBack(plan.post, result);
}

async function giveBack(address, result) {
  try {
    showText("handed", await handBack(address, result));
  } catch (error) {
    showText("handed", sentence(error));
  }
}

function verdict({ entries, isStopped }) {
  if (isStopped) return "Stopped. You can download the measurements so far.";
  const wrong = entries.filter(({ state }) => state === "wrong").length;
  const failed = entries.filter(({ state }) => state === "failed").length;
  const parts = [];
  if (wrong) parts.push(`${wrong} of ${entries.length} wrong, and not timed`);
  if (failed) parts.push(`${failed} of ${entries.length} could not be measured`);
  if (wasHidden) parts.push("the page was hidden for a while, and browsers slow hidden pages");
  return `Done${parts.length ? `: ${parts.join("; ")}` : ""}.`;
}

function duration({ candidates, seconds }) {
  const total = candidates.length * (seconds + 8);
  return total < 90 ? `${Math.ceil(total / 10) * 10} seconds` : `${Math.ceil(total / 60)} minutes`;
}

function show(race) {
  byId("progress").value = race.step / race.steps;
  byId("candidates").replaceChildren(...race.entries.map(card));
  const timed = race.entries
    .map(({ measurement }) => ({
      name: measurement.candidate.name,
      figures: figuresOf(measurement),
    }))
    .filter(({ figures }) => figures !== null);
  byId("comparison").hidden = timed.length === 0;
  if (timed.length) byId("comparison").replaceChildren(element("h2", {}, "Milliseconds per call"), bars(timed));
}

function card({ measurement, state, proof, remark }) {
  const parts = [element("p", { class: "name" }, measurement.candidate.name)];
  const figures = figuresOf(measurement);
  if (figures && state !== "wrong") {
    const range = `${milliseconds(figures.low)} to ${milliseconds(figures.high)}`;
    parts.push(
      element(
        "p",
        { class: "latency" },
        `${milliseconds(figures.median)} ms `,
        element("small", {}, range),
      ),
    );
  }
  if (measurement.error) parts.push(element("p", { class: "state wrong" }, measurement.error));
  else if (STATES[state]) parts.push(element("p", { class: "state" }, STATES[state]));
  if (state === "timing" || (state === "stopped" && proof)) parts.push(proofLine(proof));
  if (remark) parts.push(element("p", { class: "state" }, remark));
  if (figures) parts.push(element("p", { class: "state" }, settingsOf(measurement)));
  return element("article", { class: "card" }, ...parts);
}

/** Threads or adapter of a candidate, and the calls per sample. */
function settingsOf({ candidate, runtime, repetitions }) {
  const { threads } = candidate.configuration;
  const where = runtime.adapter ?? (threads === 1 ? "1 thread" : `${threads} threads`);
  return repetitions === 1 ? where : `${where}, ${repetitions} calls per sample`;
}

function proofLine(proof) {
  if (!proof?.tested) {
    const reason = proof ? "its reference outputs have other sizes" : "it has no reference outputs";
    return element("p", { class: "state" }, `unproven: ${reason}`);
  }
  return element("p", { class: "state right" }, `proven: ${proofText(proof)}`);
}

main().catch((error) => {
  showText("status", `This page cannot start: ${sentence(error)}.`);
  byId("progress").hidden = true;
});
