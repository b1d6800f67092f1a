// Commands to a worker, and their answers: one candidate is one worker, which can be ended.

/** A worker whose commands are awaited. */
export class Process {
  /** @param {Worker} worker runs `answerCommands`. */
  constructor(worker) {
    this._worker = worker;
    this._waiting = new Map();
    this._last = 0;
    worker.onmessage = ({ data }) => this._settle(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this._fail(event.message || "its worker could not start");
    };
  }

  /** The answer to a command; rejects with the worker's reason. */
  ask(command, argument) {
    return new Promise((resolve, reject) => {
      if (this._ended) {
        reject(new Error(this._ended));
        return;
      }
      this._last += 1;
      this._waiting.set(this._last, { resolve, reject });
      this._worker.postMessage({ id: this._last, command, argument });
    });
  }

  /** End the worker, in the middle of a call too. */
  stop(reason = "it was stopped") {
    this._worker.terminate();
    this._fail(reason);
  }

  _settle({ id, answer, error }) {
    const waiting = this._waiting.get(id);
    this._waiting.delete(id);
    if (error === undefined) waiting?.resolve(answer);
    else waiting?.reject(new Error(error));
  }

  _fail(reason) {
    this._ended = reason;
    for (const { reject } of this._waiting.values()) reject(new Error(reason));
    this._waiting.clear();
  }
}

/** Inside a worker: answer each command with the function of its name. */
export function answerCommands(commands) {
  self.onmessage = async ({ data: { id, command, argument } }) => {
    try {
      self.postMessage({ id, answer: await commands[command](argument) });
    } catch (error) {
      self.postMessage({ id, error: sentence(error) });
    }
  };
}

/** The first line of what an error says; runtimes throw numbers and texts as well. */
export function sentence(error) {
  const text = String(error?.message ?? error).trim().split("\n")[0];
  return text.slice(0, 300) || "it failed without a reason";
}
