// Source of files for the served page: addresses relative to it.

/** The plan. */
export async function readPlan() {
  return (await fetched("plan.json")).json();
}

/** Files of candidates, addresses of the runtime, and workers. */
export const source = {
  async files({ model, externals, reference }) {
    const found = { model: await bytes(model), externals: {}, reference: null };
    for (const [name, address] of Object.entries(externals)) {
      found.externals[name] = await bytes(address);
    }
    if (reference) found.reference = await bytes(reference);
    return found;
  },

  async runtime(device) {
    const { runtime } = await readPlan();
    const names = device === "wasm" ? runtime.wasm : runtime.gpu;
    const [library, glue, binary] = names.map((name) => new URL(name, document.baseURI).href);
    return { library, glue, binary };
  },

  newWorker() {
    return new Worker(new URL("candidate_worker.js", import.meta.url), { type: "module" });
  },
};

async function bytes(address) {
  return (await fetched(address)).arrayBuffer();
}

async function fetched(address) {
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new Error(`${address} cannot be loaded: the server does not respond any more`);
  }
  if (!response.ok) throw new Error(`${address} cannot be loaded: status ${response.status}`);
  return response;
}
