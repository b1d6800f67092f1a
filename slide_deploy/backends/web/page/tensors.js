// Element types of tensors, by the names that ONNX Runtime and numpy share.

export const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  // Older browsers lack Float16Array, so float16 is passed as its 16 bits.
  float16: globalThis.Float16Array ?? Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

/** Number of elements in a shape. */
export function sizeOf(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

/** Convert numbers to the typed array of a dtype; 64-bit integers become `BigInt`. */
export function typed(dtype, values) {
  const array = ARRAYS[dtype];
  if (array === undefined) throw new Error(`tensors of ${dtype} are not supported`);
  if (values instanceof array) return values;
  if (dtype === "int64" || dtype === "uint64") return array.from(values, BigInt);
  if (dtype === "float16" && array === Uint16Array) return array.from(values, halfOf);
  return array.from(values);
}

/** Convert a typed array of any dtype to plain numbers. */
export function numbers(dtype, array) {
  if (dtype === "int64" || dtype === "uint64") return Float64Array.from(array, Number);
  if (dtype === "float16" && array instanceof Uint16Array) return Float64Array.from(array, ofHalf);
  return array;
}

/** Value of float16 bits. */
export function ofHalf(word) {
  const sign = word & 0x8000 ? -1 : 1;
  const exponent = (word >> 10) & 31;
  const fraction = word & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Bits of the nearest float16 value; ties round to even. */
export function halfOf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const steps = size / 2 ** (exponent - 10);
  let rounded = Math.floor(steps);
  const rest = steps - rounded;
  if (rest > 0.5 || (rest === 0.5 && rounded % 2)) rounded += 1;
  // Addition lets a carry raise the exponent, also when a subnormal value becomes normal.
  return sign | (((exponent + 14) << 10) + rounded);
}
