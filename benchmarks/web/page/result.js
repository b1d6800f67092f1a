// Builds, sends or downloads the result, in the format of `slide-deploy bench --json`.

/** The run, from a plan, its race and the facts of the machine. */
export function resultOf(plan, race, machine, started) {
  return {
    ...plan.run,
    started,
    machine,
    interrupted: race.isStopped,
    measurements: race.entries.map(({ measurement }) => measurement),
  };
}

/** Post the result. Return the command's reply, or throw an error with the reason. */
export async function handBack(address, result) {
  let response;
  try {
    response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(result),
    });
  } catch {
    throw new Error(
      "The command does not respond; it may have ended. Download the result and read it with " +
        "slide-deploy report.",
    );
  }
  const text = await response.text();
  if (!response.ok) throw new Error(text || `The command refused the result (${response.status}).`);
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
