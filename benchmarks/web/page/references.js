// Reads reference outputs from the file beside a model, and compares outputs with them.

import { tensorOf, word } from "./draws.js";
import { numbers, sizeOf } from "./tensors.js";

const KEY = "slide_deploy.reference";
// Types of safetensors, with their names in ONNX Runtime.
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
// Upper bound of the error of a float64 sum of thousands of terms, relative to the largest term.
const ROUNDING = 1e-12;

/** Read a file of reference outputs: its JSON, and `tensors` by name. */
export function readReference(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(
    new TextDecoder().decode(new Uint8Array(buffer, 8, length)),
  );
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    const [type, array] = TYPES[dtype];
    // Copied, as a tensor may begin at any byte.
    const bytes = buffer.slice(8 + length + start, 8 + length + end);
    tensors[name] = { dtype: type, shape, values: new array(bytes) };
  }
  return { ...JSON.parse(metadata[KEY]), tensors };
}

/**
 * The parts of a case that run one after the other, each {name: tensor}.
 *
 * @param ports inputs of the session, with open sizes filled in.
 * @returns null if the session does not accept the sizes of the case.
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
 * Why reference outputs cannot belong to a file; null if they can.
 *
 * @param inputs inputs of the session, with null for open sizes.
 */
export function foreign(reference, inputs) {
  const fits = reference.cases.some(
    (made) =>
      Object.keys(made.inputs).length === inputs.length &&
      inputs.every(({ name, shape }) => {
        const sizes = made.inputs[name] && handed(made, made.inputs[name]);
        // The file's batch may be a multiple of the case's.
        const isSize = (size, axis) =>
          shape[axis] === null || shape[axis] === size || (!axis && shape[axis] % size === 0);
        return sizes?.length === shape.length && sizes.every(isSize);
      }),
  );
  return fits ? null : "wrong: its inputs differ from those of its reference outputs";
}

/** The shape of one part of a case's input. */
function handed({ rows }, { shape, axes }) {
  const sizes = axes ? axes.map((axis) => shape[axis]) : [...shape];
  if (rows && sizes.length) sizes[0] = rows;
  return sizes;
}

/** How many copies of a case fill the session's batch; null if the sizes do not fit. */
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

/** The session's ports with open sizes filled in from a case. */
function portsOfCase(made, inputs) {
  return inputs.map((port) => {
    const recipe = made.inputs[port.name];
    const own = recipe ? handed(made, recipe) : [];
    return { ...port, shape: port.shape.map((size, axis) => size ?? own[axis]) };
  });
}

/**
 * Compare a session with every case that it accepts.
 *
 * A case with other sizes than `ports` runs at its own sizes if the session has open sizes: a file
 * with wrong outputs at any size must not be timed.
 *
 * @param ports inputs of the session at the timed sizes.
 * @returns {tested, relative, snr, wrong}: the number of cases with the sizes of `ports`, their
 *   largest errors, and a clause on a wrong output in any case, or null.
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
    const results = [];
    for (const part of fitted.parts) {
      session.bind(part);
      await session.run();
      results.push(Object.fromEntries(session.read().map((each) => [each.name, each])));
    }
    if (timed) found.tested += 1;
    for (const [name, output] of Object.entries(made.outputs)) {
      const wanted = reference.tensors[`output/${made.name}/${name}`];
      for (const copy of copiesApart(results.map((each) => each[name]), fitted.copies, output)) {
        const figures = compare(copy, wanted, output, scales[name], made.rows !== null);
        const { relative, snr } = figures;
        const isRight = relative <= reference.limit.relative && snr >= reference.limit.snr_db;
        if (timed) {
          found.relative = Math.max(found.relative, relative);
          found.snr = Math.min(found.snr, snr);
        }
        // The message names the case with the lowest ratio. A missing ratio counts as the lowest.
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

/** The most informative figure of a wrong output. */
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

/** The values of an output for each copy of a case, with the parts joined. */
function copiesApart(parts, copies, { shape }) {
  if (parts.some((part) => part === undefined)) return [undefined];
  if (parts.length === 1 && copies === 1) return parts;
  const apart = [];
  for (let copy = 0; copy < copies; copy += 1) {
    const rows = parts.map((part) => {
      const size = part.shape[0] / copies;
      // An output without a batch axis is shared by all copies.
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
 * Compare an output with its reference: {relative, snr, remark}.
 *
 * For integers and booleans, `relative` is the share that differs and `snr` is infinite.
 *
 * @param found {dtype, shape, values}, or undefined if the file lacks the output.
 * @param wanted {dtype, shape, values}: all values, or those at the sampled indices.
 * @param output stored shape, samples and scale.
 * @param scale largest absolute value of this output over all cases.
 * @param isCentred whether to remove the reference's mean over the rows from its energy.
 */
export function compare(found, wanted, output, scale, isCentred) {
  const nothing = (remark) => ({ relative: NaN, snr: NaN, remark });
  if (found === undefined) return nothing("an output is missing");
  const { shape, samples } = output;
  if (found.shape.length !== shape.length || !fits(found.shape, shape)) {
    return nothing("an output has another shape");
  }
  const all = numbers(found.dtype, found.values);
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
      // Infinite or NaN values of the trained network, such as masks, must be equal.
      if (!Object.is(given[index] + 0, value + 0)) return nothing("an output is not a number");
      continue;
    }
    if (!Number.isFinite(given[index])) return nothing("an output is not a number");
    const difference = given[index] - value;
    const centred = rows ? value - rows[index % rows.length] : value;
    worst = Math.max(worst, Math.abs(difference));
    noise += difference * difference;
    largest = Math.max(largest, Math.abs(centred));
    signal += centred * centred;
    count += 1;
  }
  if (!count) return nothing("no output can be compared");
  if (largest <= ROUNDING * scale) [largest, signal] = [scale, scale * scale * count];
  if (noise === 0) return { relative: 0, snr: Infinity };
  return { relative: worst / largest, snr: 10 * Math.log10(signal / noise) };
}

/** Compare integers, such as classes. Rounding may swap two classes with almost equal scores. */
function compareExactly(given, truth) {
  if (!truth.length) return { relative: NaN, snr: NaN, remark: "no output can be compared" };
  const differing = truth.filter((value, index) => given[index] !== value).length;
  return { relative: differing / truth.length, snr: Infinity };
}

/** The mean over the first axis. */
function meanOverRows(values, shape) {
  const one = values.length / shape[0];
  const means = new Float64Array(one);
  for (let index = 0; index < values.length; index += 1) {
    means[index % one] += values[index] / shape[0];
  }
  return means;
}
