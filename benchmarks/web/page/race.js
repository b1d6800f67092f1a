// Runs candidates against each other: a worker each, in turns, in an order of each round's own.

import { word } from "./draws.js";
import { Process, sentence } from "./process.js";
import { missing } from "./session.js";

// Threads of one candidate spin for a while after its last call and slow down whoever is next.
const REST = 150;
const MORE_THREADS_DO_NOT_PAY = 4;

/** Threads for one call: what was asked for, or half of the cores, as phones have small ones. */
export function threadsOf(asked) {
  if (!self.crossOriginIsolated) return 1;
  const cores = navigator.hardwareConcurrency || 1;
  return asked ?? Math.min(MORE_THREADS_DO_NOT_PAY, Math.ceil(cores / 2));
}

/** A race that can be stopped; `measurements` holds what is known at any time. */
export class Race {
  /**
   * @param plan what to measure.
   * @param source gives files: model(candidate), runtime(device), newWorker().
   * @param changed called with a text whenever there is something to show.
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

  /** End every call now; what was measured is kept. */
  stop() {
    this.isStopped = true;
    for (const process of this._alive.values()) process.stop();
  }

  /** Prove every candidate, and time those that are right. */
  async run() {
    this._begin = performance.now();
    for (const entry of this.entries) {
      if (this.isStopped) break;
      this._say(`${entry.measurement.candidate.name}: loading`);
      await this._failing(entry, () => this._start(entry));
      this.step += 1;
    }
    for (let round = 0; round < this._plan.rounds && this._alive.size; round += 1) {
      const order = shuffled([...this._alive.keys()], round);
      for (const entry of order) {
        if (this.isStopped) break;
        this._say(`round ${round + 1} of ${this._plan.rounds}`);
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
      entry.measurement.runtime.fallback = `web:wasm in place of web:${candidate.device}: ${reason}`;
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
    this._say(`${measurement.candidate.name}: warming up`);
    const { warm, repetitions } = await process.send("warmUp", this._plan.warm_up);
    measurement.warm_up = warm;
    measurement.repetitions = repetitions;
    entry.state = "timing";
  }

  async _prove(entry, process, reference) {
    const { measurement } = entry;
    if (reference) {
      entry.state = "proving";
      this._say(`${measurement.candidate.name}: comparing with the trained network`);
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

  /** A candidate that fails leaves the race; what it had measured stays. */
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

  _say(text) {
    this._changed(text);
  }
}

/** What a proof says in a few words. */
export function proofText(proof) {
  if (!proof?.tested) return "unproven";
  const cases = proof.tested === 1 ? "1 case" : `${proof.tested} cases`;
  return `${cases}, at worst ${worstText(proof)}`;
}

/** Noise in dB; where there are only whole numbers, the share of them that differs. */
function worstText({ relative, snr }) {
  if (Number.isFinite(snr)) return `${snr.toFixed(0)} dB`;
  return relative === 0 ? "exact" : `${Number((100 * relative).toPrecision(2))} % differ`;
}

/** A proof as a result holds it; null where no case had the sizes that were measured. */
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
