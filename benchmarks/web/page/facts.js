// Facts about this browser and device, for the page and the result.

import { deviceFacts, missing } from "./session.js";
import { threadsOf } from "./race.js";
import { timerStep } from "./timing.js";

/** Facts by name, as in a result. Unknown facts are absent. */
export async function machineFacts() {
  const agent = navigator.userAgentData;
  const hints = ["model", "platformVersion", "architecture", "bitness"];
  const values = (await agent?.getHighEntropyValues?.(hints).catch(() => ({}))) ?? {};
  const platform = [agent?.platform ?? navigator.platform, values.platformVersion]
    .filter(Boolean)
    .join(" ");
  const facts = {
    model: values.model || "",
    // With the browser, so that results of two browsers never count as the same machine.
    system: `${browserName(agent).replace(/ [\d.]+$/, "")} on ${platform}`,
    architecture: [values.architecture, values.bitness].filter(Boolean).join(" "),
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

/** Facts that the page shows, [name, text] in order. */
export async function shownFacts(facts, planned) {
  const threads = threadsOf(planned);
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

/** Why there is only one thread, and what to do; empty if there are more. */
export function hint() {
  if (self.crossOriginIsolated) return "";
  if (location.protocol === "file:") return "A page from a file has only one thread.";
  return isSecureContext
    ? "Only one thread, as the server does not send the headers for more: see docs/web.md."
    : "Threads, a fine timer and WebGPU need https or localhost. With an Android phone on a " +
        "cable, use slide-deploy bench FILE --adb";
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

/** Replace control characters, and limit the length. */
function plain(text) {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, "?").slice(0, 300);
}
