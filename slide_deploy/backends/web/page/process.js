// Send commands to a worker and await their results. Each candidate has its own worker.

/** A worker whose commands are awaited. */
export class Process {
  /** @param {Worker} worker runs `handleCommands`. */
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

  /** The result of a command; rejects with the worker's reason. */
  send(command, argument) {
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

  /** End the worker, even during a call. */
  stop(reason = "it was stopped") {
    this._worker.terminate();
    this._fail(reason);
  }

  _settle({ id, result, error }) {
    const waiting = this._waiting.get(id);
    this._waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  _fail(reason) {
    this._ended = reason;
    for (const { reject } of this._waiting.values()) reject(new Error(reason));
    this._waiting.clear();
  }
}

/** In a worker: run the function of each command's name, and post its result. */
export function handleCommands(commands) {
  self.onmessage = async ({ data: { id, command, argument } }) => {
    try {
      self.postMessage({ id, result: await commands[command](argument) });
    } catch (error) {
      self.postMessage({ id, error: sentence(error) });
    }
  };
}

/** First line of an error's message; runtimes throw numbers and strings as well. */
export function sentence(error) {
  const text = String(error?.message ?? error).trim().split("\n")[0];
  return text.slice(0, 300) || "it failed without a reason";
}
