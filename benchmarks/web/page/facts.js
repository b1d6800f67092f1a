// What this browser is, as far as it tells: for the page, and for the result.

import { deviceFacts, missing } from "./session.js";
import { threadsOf } from "./race.js";
import { timerStep } from "./timing.js";

/** Facts of the device by name, as a result holds them; what is unknown is absent. */
export async function machineFacts() {
  const agent = navigator.userAgentData;
  const hints = ["model", "platformVersion", "architecture", "bitness"];
  const told = (await agent?.getHighEntropyValues?.(hints).catch(() => ({}))) ?? {};
  const platform = [agent?.platform ?? navigator.platform, told.platformVersion]
    .filter(Boolean)
    .join(" ");
  const facts = {
    model: told.model || "",
    // Browsers are as different as machines: results of two must not pass for one machine's.
    system: `${browserName(agent).replace(/ [\d.]+$/, "")} on ${platform}`,
    architecture: [told.architecture, told.bitness].filter(Boolean).join(" "),
    "usable cores": String(navigator.hardwareConcurrency ?? ""),
    memory: navigator.deviceMemory ? `${navigator.deviceMemory} GiB or more` : "",
    browser: browserName(agent),
    "user agent": navigator.userAgent,
    "cross-origin isolated": self.crossOriginIsolated ? "yes" : "no",
    "timer step": stepText(timerStep()),
  };
  return Object.fromEntries(
    Object.entries(facts)
      .filter(([, fact]) => fact)
      .map(([name, fact]) => [name, plain(fact)]),
  );
}

/** What the page shows: [name, text] in order. */
export async function shownFacts(facts, asked) {
  const threads = threadsOf(asked);
  const reason = await missing("webgpu");
  const adapter = reason ? `none: ${reason}` : (await deviceFacts("webgpu", 1)).adapter;
  return [
    ["Browser", facts.browser ?? facts["user agent"]],
    ["System", [facts.system.replace(/^.* on /, ""), facts.model].filter(Boolean).join(", ")],
    ["Isolated", self.crossOriginIsolated ? "yes, cross-origin isolated" : "no"],
    ["Threads", `${threads} of ${navigator.hardwareConcurrency} cores`],
    ["WebGPU", adapter],
    ["Timer", `steps of ${facts["timer step"]}`],
  ];
}

/** Why there is one thread only, and what would help; empty where nothing is missing. */
export function hint() {
  if (self.crossOriginIsolated) return "";
  if (location.protocol === "file:") return "A page from a file runs with one thread.";
  return isSecureContext
    ? "The server does not send the headers that threads need, so one thread runs: see docs/web.md."
    : "Browsers give threads, a fine timer and WebGPU to pages of https and of localhost only. An " +
        "Android phone on a cable has all of them: slide-deploy bench FILE --adb";
}

function stepText(step) {
  return step < 1 ? `${Number((step * 1000).toPrecision(2))} µs` : `${Number(step.toPrecision(2))} ms`;
}

function browserName(agent) {
  const known = agent?.brands?.filter(({ brand }) => !/not.*brand/i.test(brand)) ?? [];
  const best = known.find(({ brand }) => brand !== "Chromium") ?? known[0];
  if (best) return `${best.brand} ${best.version}`;
  const found = /(Firefox|Edg|Chrome|Version)\/([\d.]+)/.exec(navigator.userAgent);
  return found ? `${found[1].replace("Version", "Safari")} ${found[2]}` : "a browser";
}

/** A text without what a terminal or a table would trip over, of bounded length. */
function plain(text) {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, "?").slice(0, 300);
}
