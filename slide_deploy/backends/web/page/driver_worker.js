// Worker of the driven page: it holds the session. Tensors are base64, because commands are text.

import { handleCommands } from "./process.js";
import { openSession } from "./session.js";
import { repetitionsOf, timerStep } from "./timing.js";

let session;
let step = 0;
let repetitions = 1;

handleCommands({
  async open({ device, threads, runtime, model, externals }) {
    const bytes = await (await fetch(model)).arrayBuffer();
    const beside = {};
    for (const [name, address] of Object.entries(externals)) {
      beside[name] = await (await fetch(address)).arrayBuffer();
    }
    session = await openSession({ device, threads, runtime, model: bytes, externals: beside });
    step = timerStep();
    const facts = {
      ...session.facts,
      "cross-origin isolated": self.crossOriginIsolated ? "yes" : "no",
      "timer step": `${(step * 1000).toPrecision(2)} us`,
      "user agent": navigator.userAgent,
    };
    return { facts, inputs: session.inputs, outputs: session.outputs };
  },

  bind(feeds) {
    for (const feed of Object.values(feeds)) feed.values = fromBase64(feed.values);
    session.bind(feeds);
    repetitions = 1;
  },

  /** Milliseconds of a call: the mean of several if one is too short for the timer. */
  async run() {
    const before = performance.now();
    for (let count = 0; count < repetitions; count += 1) await session.run();
    const latency = (performance.now() - before) / repetitions;
    // A call that the timer did not register took at most one step.
    repetitions = repetitionsOf(Math.max(latency, step / repetitions), step);
    return latency;
  },

  read() {
    return session.read().map((each) => ({ ...each, values: toBase64(each.values) }));
  },
});

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

function toBase64(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}
