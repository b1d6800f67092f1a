// Source of files for the single-file page: its own elements.

/** The plan. */
export async function readPlan() {
  return JSON.parse(document.getElementById("plan").textContent);
}

let workerAddress = null;

/** Files of candidates, the runtime's module and binary, and workers. */
export const source = {
  async files({ model, externals, reference }) {
    const found = { model: bytesOf(model), externals: {}, reference: null };
    for (const [name, id] of Object.entries(externals)) found.externals[name] = bytesOf(id);
    if (reference) found.reference = bytesOf(reference);
    return found;
  },

  async runtime() {
    const { runtime } = await readPlan();
    const [library, binary] = runtime.wasm;
    // Not a blob, as workers of a page from a file cannot import one.
    const address = `data:text/javascript;base64,${document.getElementById(library).textContent}`;
    return { library: address, binary: bytesOf(binary) };
  },

  newWorker() {
    // Not a module worker, as a page from a file cannot start one.
    const script = new Blob([bytesOf("worker")], { type: "text/javascript" });
    return new Worker((workerAddress ??= URL.createObjectURL(script)));
  },
};

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes.buffer;
}
