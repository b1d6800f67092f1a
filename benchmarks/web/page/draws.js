// Inputs that any language can reproduce bit for bit from a few numbers: docs/reference-outputs.md.

import { sizeOf, typed } from "./tensors.js";

const MEAN_OF_FOUR = 131070;

/** Hash a 32-bit word. */
export function mix(word) {
  word ^= word >>> 16;
  word = Math.imul(word, 0x7feb352d);
  word ^= word >>> 15;
  word = Math.imul(word, 0x846ca68b);
  word ^= word >>> 16;
  return word >>> 0;
}

/** The word at an index of a seed's sequence. */
export function word(seed, place) {
  return mix((mix(place) + mix(seed)) | 0);
}

/** The tensor of a recipe, {dtype, shape, values}, in the layout of the file. */
export function tensorOf(recipe, stored) {
  const { dtype, shape, frame, axes, reverse } = recipe;
  // Rounded to the tensor's type first, as the later steps only move numbers.
  let made = { dtype, shape, values: typed(dtype, drawn(recipe, stored)) };
  if (frame) framed(made, frame);
  if (axes) made = transposed(made, axes);
  if (reverse !== null && reverse !== undefined) made = reversed(made, reverse);
  return made;
}

function drawn({ shape, draw }, stored) {
  const size = sizeOf(shape);
  if (draw.kind === "normal") {
    const values = new Float64Array(size);
    for (let index = 0; index < size; index += 1) {
      const a = word(draw.seed, 2 * index);
      const b = word(draw.seed, 2 * index + 1);
      const sum = (a & 0xffff) + (a >>> 16) + (b & 0xffff) + (b >>> 16);
      values[index] = ((sum - MEAN_OF_FOUR) * draw.factor) / 32768;
    }
    return values;
  }
  const each = DRAWS[draw.kind];
  if (each) return Array.from({ length: size }, (_, index) => each(draw, index));
  if (draw.kind === "stored" && stored) return stored;
  throw new Error(`reference inputs of the kind ${draw.kind} cannot be made here`);
}

const DRAWS = {
  pixels: ({ seed, lowest, count }, index) => lowest + (word(seed, index) % count),
  choice: ({ seed, values }, index) => values[word(seed, index) % values.length],
  constant: ({ value }) => value,
};

/** Set every position except the frame around the last two axes to one number. */
function framed({ dtype, shape, values }, { width, inside }) {
  const [value] = typed(dtype, [inside]);
  const [height, breadth] = shape.slice(-2);
  for (let index = 0; index < values.length; index += 1) {
    const column = index % breadth;
    const row = Math.floor(index / breadth) % height;
    const isInside =
      row >= width && row < height - width && column >= width && column < breadth - width;
    if (isInside) values[index] = value;
  }
}

/** Permute the axes of a tensor. */
function transposed({ dtype, shape, values }, axes) {
  const strides = stridesOf(shape);
  const order = axes.map((axis) => strides[axis]);
  return gathered(dtype, axes.map((axis) => shape[axis]), values, order, 0);
}

/** Reverse one axis of a tensor. */
function reversed({ dtype, shape, values }, axis) {
  const strides = stridesOf(shape);
  const start = (shape[axis] - 1) * strides[axis];
  strides[axis] = -strides[axis];
  return gathered(dtype, shape, values, strides, start);
}

function stridesOf(shape) {
  const strides = new Array(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis -= 1) {
    strides[axis] = strides[axis + 1] * shape[axis + 1];
  }
  return strides;
}

/** Gather numbers by strides into a row-major tensor. */
function gathered(dtype, shape, values, strides, start) {
  const taken = new values.constructor(values.length);
  const index = new Array(shape.length).fill(0);
  let place = start;
  for (let count = 0; count < taken.length; count += 1) {
    taken[count] = values[place];
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      index[axis] += 1;
      place += strides[axis];
      if (index[axis] < shape[axis]) break;
      place -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return { dtype, shape, values: taken };
}
