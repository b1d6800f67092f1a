// Open a file with ONNX Runtime Web on a device of the browser, and run it.

import { ARRAYS, sizeOf, typed } from "./tensors.js";

const PROVIDERS = { wasm: "wasm", webgpu: "webgpu", webnn: "webnn" };

/** Why a device is missing here, as a clause; an empty string if it is present. */
export async function missing(device) {
  if (device === "webgpu") {
    if (!navigator.gpu) {
      return isSecureContext
        ? "this browser has no WebGPU"
        : "browsers allow WebGPU on https and localhost pages only";
    }
    if (!(await navigator.gpu.requestAdapter())) return "this browser has no WebGPU adapter";
  }
  if (device === "webnn") {
    if (!navigator.ml) return "this browser has no WebNN";
    try {
      await navigator.ml.createContext();
    } catch {
      return "this browser has WebNN but no device for it";
    }
  }
  return "";
}

/** Facts that a device reports, by name. */
export async function deviceFacts(device, threads) {
  if (device === "wasm") return { threads: String(threads) };
  if (device !== "webgpu") return {};
  const info = (await navigator.gpu.requestAdapter()).info ?? {};
  const name = [info.vendor, info.architecture, info.device, info.description];
  const isSoftware = info.isFallbackAdapter ? ", in software" : "";
  return { adapter: (name.filter(Boolean).join(" ") || "unnamed") + isSoftware };
}

/**
 * Open a file.
 *
 * @param {object} wanted
 *   device: "wasm", "webgpu" or "webnn".
 *   threads: of WebAssembly; one if the page is not cross-origin isolated.
 *   runtime: addresses of the library's module, its glue code and its binary, or the binary itself.
 *   model: the file's bytes. externals: bytes of its external data files, by name.
 */
export async function openSession({ device, threads, runtime, model, externals = {} }) {
  const reason = await missing(device);
  if (reason) throw new Error(reason);
  const ort = await import(runtime.library);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  if (runtime.binary instanceof ArrayBuffer) ort.env.wasm.wasmBinary = runtime.binary;
  else ort.env.wasm.wasmPaths = { mjs: runtime.glue, wasm: runtime.binary };
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: [PROVIDERS[device]],
    externalData: Object.entries(externals).map(([path, data]) => ({
      path,
      data: new Uint8Array(data),
    })),
  });
  return new Session(ort, session, {
    version: ort.env.versions.web,
    ...(await deviceFacts(device, ort.env.wasm.numThreads)),
  });
}

/** An open file; see `openSession`. */
export class Session {
  constructor(ort, session, facts) {
    this._ort = ort;
    this._session = session;
    this.facts = facts;
    this.inputs = session.inputMetadata.map((each) => described(each));
    this.outputs = [...session.outputNames];
  }

  /** Set the inputs: {name: {dtype, shape, values}}. */
  bind(feeds) {
    const bound = {};
    for (const [name, { dtype, shape, values }] of Object.entries(feeds)) {
      const array = values instanceof ArrayBuffer ? new ARRAYS[dtype](values) : typed(dtype, values);
      if (array.length !== sizeOf(shape)) throw new Error(`the values of ${name} do not fill its shape`);
      bound[name] = new this._ort.Tensor(dtype, array, shape);
    }
    this._bound = bound;
  }

  /** Run one inference on the bound inputs; resolves when its outputs are complete. */
  async run() {
    this._outputs = await this._session.run(this._bound);
  }

  /** Outputs of the last call: [{name, dtype, shape, values}], where values are copies. */
  read() {
    return this.outputs.map((name) => {
      const { type, dims, data } = this._outputs[name];
      return { name, dtype: type, shape: [...dims], values: data.slice() };
    });
  }
}

function described({ name, isTensor, type, shape }) {
  if (!isTensor) throw new Error(`the file takes ${name}, which is not a tensor`);
  // An open size is a name in the file, and null here.
  const sizes = shape.map((size) => (typeof size === "number" && size >= 0 ? size : null));
  return { name, dtype: type, shape: sizes };
}
