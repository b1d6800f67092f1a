// The result as `slide-deploy bench --json` writes it, handed back or downloaded.

/** The run, of a plan, its race and the facts of the machine. */
export function resultOf(plan, race, machine, started) {
  return {
    ...plan.run,
    started,
    machine,
    interrupted: race.isStopped,
    measurements: race.entries.map(({ measurement }) => measurement),
  };
}

/** Post the result; gives what the command says, and throws with what went wrong. */
export async function handBack(address, result) {
  let answer;
  try {
    answer = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(result),
    });
  } catch {
    throw new Error(
      "The command does not answer: it may have ended. Download the result and show it with " +
        "slide-deploy report.",
    );
  }
  const text = await answer.text();
  if (!answer.ok) throw new Error(text || `The command refused the result (${answer.status}).`);
  return text;
}

/** Let the browser save the result. */
export function download(result) {
  const content = new Blob([JSON.stringify(result)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = "slide-deploy-result.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
