// Races candidates: a worker each, taking turns, in a random order in each round.

import { word } from "./draws.js";
import { Process, sentence } from "./process.js";
import { missing } from "./session.js";

// Milliseconds between slices. Threads of a candidate spin after its last call and slow the next.
const REST = 150;
const MAX_THREADS = 4;

/** Threads per call: those of the plan or, as phones have small cores, half the cores up to 4. */
export function threadsOf(planned) {
  if (!self.crossOriginIsolated) return 1;
  const cores = navigator.hardwareConcurrency || 1;
  return planned ?? Math.min(MAX_THREADS, Math.ceil(cores / 2));
}

/** A race that can be stopped. `entries` contains the measurements so far. */
export class Race {
  /**
   * @param plan the plan of the page.
   * @param source source of files: files(candidate), runtime(device), newWorker().
   * @param changed called with a text for each change.
   */
  constructor(plan, source, changed) {
    this._plan = plan;
    this._source = source;
    this._changed = changed;
    this._alive = new Map();
    this.isStopped = false;
    this.entries = plan.candidates.map((candidate) => ({
      candidate,
      measurement: structuredClone(candidate.measurement),
      state: "waiting",
      proof: null,
    }));
    this.steps = plan.candidates.length + plan.rounds;
    this.step = 0;
  }

  /** End every call now. The measurements so far are kept. */
  stop() {
    this.isStopped = true;
    for (const process of this._alive.values()) process.stop();
  }

  /** Verify every candidate, and time the correct ones. */
  async run() {
    this._begin = performance.now();
    for (const entry of this.entries) {
      if (this.isStopped) break;
      this._changed(`${entry.measurement.candidate.name}: loading`);
      await this._failing(entry, () => this._start(entry));
      this.step += 1;
    }
    for (let round = 0; round < this._plan.rounds && this._alive.size; round += 1) {
      const order = shuffled([...this._alive.keys()], round);
      for (const entry of order) {
        if (this.isStopped) break;
        this._changed(`round ${round + 1} of ${this._plan.rounds}`);
        await new Promise((resolve) => setTimeout(resolve, REST));
        await this._failing(entry, () => this._round(entry));
      }
      this.step += 1;
    }
    for (const process of this._alive.values()) process.stop();
  }

  async _start(entry) {
    const { candidate } = entry;
    if (candidate.refused) throw new Error(candidate.refused);
    let { device } = candidate;
    const reason = await missing(device);
    if (reason) {
      if (!candidate.fallback) throw new Error(`not measured: ${reason}`);
      device = "wasm";
      entry.measurement = structuredClone(candidate.fallback);
      entry.measurement.runtime.fallback = `web:wasm instead of web:${candidate.device}: ${reason}`;
      entry.remark = `${reason}, so WebAssembly runs it`;
    }
    const { measurement } = entry;
    const { configuration } = measurement.candidate;
    const threads = device === "wasm" ? threadsOf(candidate.threads) : 1;
    configuration.threads = threads;
    const process = new Process(this._source.newWorker());
    this._alive.set(entry, process);
    const { model, externals, reference } = await this._source.files(candidate);
    const opened = await process.send("open", {
      device,
      threads,
      runtime: await this._source.runtime(device),
      model,
      externals,
      configuration,
    });
    measurement.runtime = { ...runtimeFacts(device, configuration, opened), ...measurement.runtime };
    measurement.inputs = opened.inputs;
    measurement.cold = { stages: opened.cold };
    await this._prove(entry, process, reference);
    entry.state = "warming up";
    this._changed(`${measurement.candidate.name}: warming up`);
    const { warm, repetitions } = await process.send("warmUp", this._plan.warm_up);
    measurement.warm_up = warm;
    measurement.repetitions = repetitions;
    entry.state = "timing";
  }

  async _prove(entry, process, reference) {
    const { measurement } = entry;
    if (reference) {
      entry.state = "proving";
      this._changed(`${measurement.candidate.name}: comparing with the trained network`);
      entry.proof = await process.send("prove", reference);
      if (entry.proof.wrong) throw new Error(entry.proof.wrong);
      measurement.proof = recorded(entry.proof);
    }
  }

  async _round(entry) {
    const { measurement } = entry;
    const start = (performance.now() - this._begin) / 1000;
    const share = this._plan.seconds / this._plan.rounds;
    const { seconds, samples } = await this._alive.get(entry).send("round", share);
    measurement.rounds.push({ start, seconds, samples });
  }

  /** Record a failure and remove the candidate from the race. Its measurements stay. */
  async _failing(entry, work) {
    try {
      await work();
    } catch (error) {
      if (this.isStopped) {
        entry.state = "stopped";
        return;
      }
      entry.measurement.error = sentence(error);
      entry.state = entry.measurement.error.startsWith("wrong: ") ? "wrong" : "failed";
      this._alive.get(entry)?.stop();
      this._alive.delete(entry);
    }
  }
}

/** A proof in a few words. */
export function proofText(proof) {
  if (!proof?.tested) return "unproven";
  const cases = proof.tested === 1 ? "1 case" : `${proof.tested} cases`;
  return `${cases}, at worst ${worstText(proof)}`;
}

/** Signal-to-noise ratio in dB or, for integer outputs, the share that differs. */
function worstText({ relative, snr }) {
  if (Number.isFinite(snr)) return `${snr.toFixed(0)} dB`;
  return relative === 0 ? "exact" : `${Number((100 * relative).toPrecision(2))} % differ`;
}

/** A proof as in a result; null if no case has the measured sizes. */
function recorded({ tested, relative, snr, precision }) {
  if (!tested) return null;
  return { cases: tested, relative, snr_db: Number.isFinite(snr) ? snr : null, precision };
}

function runtimeFacts(device, configuration, { facts: { version, ...facts } }) {
  return {
    library: "onnxruntime-web",
    version,
    device,
    precision: configuration.precision,
    ...facts,
  };
}

function shuffled(entries, round) {
  for (let last = entries.length - 1; last > 0; last -= 1) {
    const other = word(round, last) % (last + 1);
    [entries[last], entries[other]] = [entries[other], entries[last]];
  }
  return entries;
}
