// Reference outputs, read from the file that stands beside a model, and answers held against them.

import { tensorOf, word } from "./draws.js";
import { numbers, sizeOf } from "./tensors.js";

const KEY = "slide_deploy.reference";
// Types of safetensors, as ONNX Runtime spells them.
const TYPES = {
  F64: ["float64", Float64Array],
  F32: ["float32", Float32Array],
  I64: ["int64", BigInt64Array],
  I32: ["int32", Int32Array],
  I16: ["int16", Int16Array],
  I8: ["int8", Int8Array],
  U64: ["uint64", BigUint64Array],
  U32: ["uint32", Uint32Array],
  U16: ["uint16", Uint16Array],
  U8: ["uint8", Uint8Array],
  F16: ["float16", globalThis.Float16Array ?? Uint16Array],
  BOOL: ["bool", Uint8Array],
};
// Sums of some thousand terms in float64 are off by less, of their largest term.
const ROUNDING = 1e-12;

/** What a file of reference outputs holds: its JSON, and `tensors` by name. */
export function readReference(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(
    new TextDecoder().decode(new Uint8Array(buffer, 8, length)),
  );
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    const [type, array] = TYPES[dtype];
    // Copied, since a tensor may begin at any byte.
    const bytes = buffer.slice(8 + length + start, 8 + length + end);
    tensors[name] = { dtype: type, shape, values: new array(bytes) };
  }
  return { ...JSON.parse(metadata[KEY]), tensors };
}

/**
 * The parts of a case that are run one after the other, each {name: tensor}.
 *
 * @param ports inputs of the session, whose open sizes are filled in.
 * @returns null where the case has not the sizes that the session takes.
 */
export function partsOf(reference, number, ports) {
  const made = reference.cases[number];
  const copies = copiesOf(made, ports);
  if (copies === null) return null;
  const feeds = {};
  for (const [name, recipe] of Object.entries(made.inputs)) {
    feeds[name] = tensorOf(recipe, reference.tensors[`input/${made.name}/${name}`]?.values);
  }
  const count = made.rows ? Math.max(...Object.values(feeds).map((each) => each.shape[0])) : 1;
  const parts = [];
  for (let row = 0; row < count; row += made.rows ?? 1) {
    const part = {};
    for (const port of ports) {
      const rows = made.rows ? rowsOf(feeds[port.name], row, made.rows) : feeds[port.name];
      part[port.name] = fits(rows.shape, port.shape) ? rows : repeated(rows, copies);
    }
    parts.push(part);
  }
  return { parts, copies };
}

/**
 * Why a file cannot be the one that its reference outputs were made for; null if it can.
 *
 * @param inputs of the session, whose open sizes are null.
 */
export function foreign(reference, inputs) {
  const fits = reference.cases.some(
    (made) =>
      Object.keys(made.inputs).length === inputs.length &&
      inputs.every(({ name, shape }) => {
        const taken = made.inputs[name] && handed(made, made.inputs[name]);
        // The first may be a batch that goes into the file's own several times.
        const isSize = (size, axis) =>
          shape[axis] === null || shape[axis] === size || (!axis && shape[axis] % size === 0);
        return taken?.length === shape.length && taken.every(isSize);
      }),
  );
  return fits ? null : "wrong: it takes other inputs than its reference outputs have";
}

/** The shape of what a case's recipe hands over at a time. */
function handed({ rows }, { shape, axes }) {
  const sizes = axes ? axes.map((axis) => shape[axis]) : [...shape];
  if (rows && sizes.length) sizes[0] = rows;
  return sizes;
}

/** How often a case goes into the session's batch; null where its sizes are others. */
function copiesOf(made, ports) {
  if (Object.keys(made.inputs).length !== ports.length) return null;
  let copies = 1;
  for (const port of ports) {
    const recipe = made.inputs[port.name];
    if (!recipe || recipe.shape.length !== port.shape.length) return null;
    for (const [axis, size] of handed(made, recipe).entries()) {
      const wanted = port.shape[axis];
      if (wanted === size) continue;
      const times = wanted / size;
      if (axis || !Number.isInteger(times) || (copies !== 1 && copies !== times)) return null;
      copies = times;
    }
  }
  return copies;
}

function fits(shape, wanted) {
  return shape.every((size, axis) => size === wanted[axis]);
}

function rowsOf({ dtype, shape, values }, start, rows) {
  const one = values.length / shape[0];
  const taken = values.slice(start * one, (start + rows) * one);
  return { dtype, shape: [taken.length / one, ...shape.slice(1)], values: taken };
}

function repeated({ dtype, shape, values }, copies) {
  const all = new values.constructor(values.length * copies);
  for (let copy = 0; copy < copies; copy += 1) all.set(values, copy * values.length);
  return { dtype, shape: [shape[0] * copies, ...shape.slice(1)], values: all };
}

/** The ports with the open sizes of a session filled in from a case, whatever sizes are timed. */
function portsOfCase(made, inputs) {
  return inputs.map((port) => {
    const recipe = made.inputs[port.name];
    const own = recipe ? handed(made, recipe) : [];
    return { ...port, shape: port.shape.map((size, axis) => size ?? own[axis]) };
  });
}

/**
 * Hold a session against every case that it takes.
 *
 * A case that does not have the sizes of `ports` runs at its own sizes, where the session leaves
 * them open: a file that is wrong there must not be timed at any size.
 *
 * @param ports inputs of the session at the sizes that are timed.
 * @returns {tested, relative, snr, wrong}: how many cases have the sizes of `ports`, the worst
 *   figures of these, and a clause that says what is wrong in any case, or null.
 */
export async function prove(session, ports, reference) {
  const scales = scalesOf(reference);
  const found = { tested: 0, relative: 0, snr: Infinity, wrong: foreign(reference, session.inputs) };
  if (found.wrong) return found;
  let deepest = Infinity;
  for (const [number, made] of reference.cases.entries()) {
    const timed = partsOf(reference, number, ports);
    const fitted = timed ?? partsOf(reference, number, portsOfCase(made, session.inputs));
    if (fitted === null) continue;
    const answers = [];
    for (const part of fitted.parts) {
      session.bind(part);
      await session.run();
      answers.push(Object.fromEntries(session.read().map((each) => [each.name, each])));
    }
    if (timed) found.tested += 1;
    for (const [name, output] of Object.entries(made.outputs)) {
      const wanted = reference.tensors[`output/${made.name}/${name}`];
      for (const answer of copiesApart(answers.map((each) => each[name]), fitted.copies, output)) {
        const figures = compare(answer, wanted, output, scales[name], made.rows !== null);
        const { relative, snr } = figures;
        const isRight = relative <= reference.limit.relative && snr >= reference.limit.snr_db;
        if (timed) {
          found.relative = Math.max(found.relative, relative);
          found.snr = Math.min(found.snr, snr);
        }
        // The deepest case is named; one without a figure is deeper than any.
        const depth = Number.isNaN(snr) ? -Infinity : snr;
        if (!isRight && (found.wrong === null || depth < deepest)) {
          deepest = depth;
          const place = Object.keys(made.outputs).length > 1 ? ` at ${name}` : "";
          found.wrong = `wrong: ${shown(figures, reference.limit)} on ${made.name}${place}`;
        }
      }
    }
  }
  return found;
}

/** The figure that says most of a wrong answer. */
function shown({ relative, snr, remark }, limit) {
  if (remark) return remark;
  return snr < limit.snr_db ? `${Math.round(snr)} dB` : `an error of ${relative.toPrecision(1)}`;
}

function scalesOf({ cases }) {
  const scales = {};
  for (const { outputs } of cases) {
    for (const [name, { scale }] of Object.entries(outputs)) {
      scales[name] = Math.max(scale ?? 0, scales[name] ?? 0);
    }
  }
  return scales;
}

/** An output's answers to each copy of a case, with its parts joined. */
function copiesApart(parts, copies, { shape }) {
  if (parts.some((part) => part === undefined)) return [undefined];
  if (parts.length === 1 && copies === 1) return parts;
  const apart = [];
  for (let copy = 0; copy < copies; copy += 1) {
    const rows = parts.map((part) => {
      const size = part.shape[0] / copies;
      // An output without the batch answers all copies at once.
      const isShared = copies > 1 && part.values.length === sizeOf(shape);
      return isShared ? part : rowsOf(part, copy * size, size);
    });
    const length = rows.reduce((sum, each) => sum + each.values.length, 0);
    const values = new rows[0].values.constructor(length);
    let start = 0;
    for (const each of rows) {
      values.set(each.values, start);
      start += each.values.length;
    }
    const first = rows.reduce((sum, each) => sum + (each.shape[0] ?? 1), 0);
    apart.push({ ...rows[0], shape: [first, ...rows[0].shape.slice(1)], values });
  }
  return apart;
}

/**
 * An answer beside its reference: {relative, snr, remark}.
 *
 * Of whole numbers and truth values, `relative` is the share that differs and `snr` is infinite.
 *
 * @param answer {dtype, shape, values}, or undefined where the file lacks the output.
 * @param wanted {dtype, shape, values}: the whole, or the numbers at the sampled places.
 * @param output shape, samples and scale, as they are stored.
 * @param scale largest absolute value of this output over all cases.
 * @param isCentred whether the energy is that of the reference without its mean over the rows.
 */
export function compare(answer, wanted, output, scale, isCentred) {
  const nothing = (remark) => ({ relative: NaN, snr: NaN, remark });
  if (answer === undefined) return nothing("an output is missing");
  const { shape, samples } = output;
  if (answer.shape.length !== shape.length || !fits(answer.shape, shape)) {
    return nothing("an output has another shape");
  }
  const all = numbers(answer.dtype, answer.values);
  const truth = numbers(wanted.dtype, wanted.values);
  const given = samples
    ? Float64Array.from(truth, (_, index) => all[word(samples.seed, index) % all.length])
    : all;
  if (!wanted.dtype.startsWith("float")) return compareExactly(given, truth);
  const rows = isCentred ? meanOverRows(truth, shape) : null;
  let [worst, noise, largest, signal, count] = [0, 0, isCentred ? 0 : (output.scale ?? 0), 0, 0];
  for (let index = 0; index < truth.length; index += 1) {
    const value = truth[index];
    if (!Number.isFinite(value)) {
      // What the trained network masks must be masked alike.
      if (!Object.is(given[index] + 0, value + 0)) return nothing("an output is not a number");
      continue;
    }
    if (!Number.isFinite(given[index])) return nothing("an output is not a number");
    const difference = given[index] - value;
    const told = rows ? value - rows[index % rows.length] : value;
    worst = Math.max(worst, Math.abs(difference));
    noise += difference * difference;
    largest = Math.max(largest, Math.abs(told));
    signal += told * told;
    count += 1;
  }
  if (!count) return nothing("no output can be compared");
  if (largest <= ROUNDING * scale) [largest, signal] = [scale, scale * scale * count];
  if (noise === 0) return { relative: 0, snr: Infinity };
  return { relative: worst / largest, snr: 10 * Math.log10(signal / noise) };
}

/** Classes have no energy, and so no noise; rounding may exchange two that are nearly alike. */
function compareExactly(given, truth) {
  if (!truth.length) return { relative: NaN, snr: NaN, remark: "no output can be compared" };
  const differing = truth.filter((value, index) => given[index] !== value).length;
  return { relative: differing / truth.length, snr: Infinity };
}

/** The mean over the first axis, of each number of a row. */
function meanOverRows(values, shape) {
  const one = values.length / shape[0];
  const means = new Float64Array(one);
  for (let index = 0; index < values.length; index += 1) {
    means[index % one] += values[index] / shape[0];
  }
  return means;
}
