// The driven page. Python calls `send` through playwright, and a worker holds the session.

import { Process } from "./process.js";

const worker = new Process(new Worker(new URL("driver_worker.js", import.meta.url), { type: "module" }));

/** {result}, or {error: reason}: an error of the page must not look like one of playwright. */
window.send = async (command, argument) => {
  try {
    return { result: await worker.send(command, argument) };
  } catch (error) {
    return { error: error.message };
  }
};
