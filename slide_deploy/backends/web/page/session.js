// A file, opened with ONNX Runtime Web on a device of the browser: bound, run and read.

import { ARRAYS, sizeOf, typed } from "./tensors.js";

const PROVIDERS = { wasm: "wasm", webgpu: "webgpu", webnn: "webnn" };

/** Why a device is missing here, as a clause; an empty text where it is present. */
export async function missing(device) {
  if (device === "webgpu") {
    if (!navigator.gpu) {
      return isSecureContext
        ? "this browser has no WebGPU"
        : "browsers give WebGPU to pages of https and of localhost only";
    }
    if (!(await navigator.gpu.requestAdapter())) return "this browser has no adapter for WebGPU";
  }
  if (device === "webnn") {
    if (!navigator.ml) return "this browser has no WebNN";
    try {
      await navigator.ml.createContext();
    } catch {
      return "this browser has WebNN and no device for it";
    }
  }
  return "";
}

/** What a device tells of itself, by name. */
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
 *   threads: of WebAssembly; one where the page is not isolated.
 *   runtime: addresses of the library's module, its glue and its binary, or the binary itself.
 *   model: the file's bytes. externals: bytes of the files beside it, by name.
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

/** What `openSession` gives. */
export class Session {
  constructor(ort, session, facts) {
    this._ort = ort;
    this._session = session;
    this.facts = facts;
    this.inputs = session.inputMetadata.map((each) => described(each));
    this.outputs = [...session.outputNames];
  }

  /** Hand over tensors: {name: {dtype, shape, values}}. */
  bind(feeds) {
    const bound = {};
    for (const [name, { dtype, shape, values }] of Object.entries(feeds)) {
      const array = values instanceof ArrayBuffer ? new ARRAYS[dtype](values) : typed(dtype, values);
      if (array.length !== sizeOf(shape)) throw new Error(`${name} has not the size of its shape`);
      bound[name] = new this._ort.Tensor(dtype, array, shape);
    }
    this._bound = bound;
  }

  /** Run one inference on what was bound; its outputs are complete when this resolves. */
  async run() {
    this._answers = await this._session.run(this._bound);
  }

  /** Every output of the last call: [{name, dtype, shape, values}], whose values are copies. */
  read() {
    return this.outputs.map((name) => {
      const { type, dims, data } = this._answers[name];
      return { name, dtype: type, shape: [...dims], values: data.slice() };
    });
  }
}

function described({ name, isTensor, type, shape }) {
  if (!isTensor) throw new Error(`the file takes ${name}, which is no tensor`);
  // An open size has a name, and is null here.
  const sizes = shape.map((size) => (typeof size === "number" && size >= 0 ? size : null));
  return { name, dtype: type, shape: sizes };
}
