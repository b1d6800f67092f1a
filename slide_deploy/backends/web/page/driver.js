// A page without a face: what drives the browser calls `ask`, and the worker holds the session.

import { Process } from "./process.js";

const worker = new Process(new Worker(new URL("driver_worker.js", import.meta.url), { type: "module" }));

/** The answer to a command, or {error: reason}: an error of the page must not look like ours. */
window.ask = async (command, argument) => {
  try {
    return { answer: await worker.ask(command, argument) };
  } catch (error) {
    return { error: error.message };
  }
};
