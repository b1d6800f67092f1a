// Opens, verifies, warms up and times one candidate in a worker of its own.

import { tensorOf } from "./draws.js";
import { handleCommands } from "./process.js";
import { prove, readReference } from "./references.js";
import { openSession } from "./session.js";
import { repetitionsOf, sample, timerStep, warmUp } from "./timing.js";

let session;
let ports;
let repetitions = 1;

handleCommands({
  /** Open the file and run it once. Return its facts, inputs, and the seconds of each stage. */
  async open({ configuration, ...wanted }) {
    const cold = {};
    session = await staged(cold, "compile", () => openSession(wanted));
    ports = session.inputs.map((port) => sized(port, configuration));
    session.bind(randomFeeds(ports));
    await staged(cold, "first run", () => session.run());
    return { facts: session.facts, inputs: ports, cold };
  },

  /** Compare outputs with the reference outputs, then bind random inputs again. */
  async prove(buffer) {
    const reference = readReference(buffer);
    const found = await prove(session, ports, reference);
    session.bind(randomFeeds(ports));
    return { ...found, precision: reference.precision };
  },

  /** Call until the latency is steady. */
  async warmUp(limit) {
    const { latency, ...warm } = await warmUp(call, limit);
    repetitions = repetitionsOf(latency, timerStep());
    return { warm, latency, repetitions };
  },

  /** Time calls for some seconds. */
  round: (seconds) => sample(call, seconds, repetitions),
});

function call() {
  return session.run();
}

async function staged(cold, name, work) {
  const start = performance.now();
  const made = await work();
  cold[name] = (performance.now() - start) / 1000;
  return made;
}

/** Fill in the open sizes of an input: the first is the batch, others come from `shapes`. */
function sized({ name, dtype, shape }, { batch, shapes }) {
  const given = shapes[name];
  if (given) return { name, dtype, shape: given };
  const sizes = shape.map((size, axis) => size ?? (axis === 0 ? batch : null));
  if (sizes.includes(null)) {
    throw new Error(`a size of ${name} is open: give --shape ${name}=… to the command`);
  }
  return { name, dtype, shape: sizes };
}

/** Normal numbers for float inputs. Integers are 0 or 1 (valid indices); uint8 images, 0 to 255. */
function randomFeeds(inputs) {
  const feeds = {};
  for (const [seed, { name, dtype, shape }] of inputs.entries()) {
    const draw = dtype.startsWith("float")
      ? { kind: "normal", seed, factor: 1 }
      : { kind: "pixels", seed, lowest: 0, count: dtype === "uint8" && shape.length === 4 ? 256 : 2 };
    feeds[name] = tensorOf({ dtype, shape, draw });
  }
  return feeds;
}
