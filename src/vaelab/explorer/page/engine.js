// Runs networks as vaelab.explorer.program exports them. Feature maps are [row, column, channel].

/** Decode base64 into bytes. */
export function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Decode float32 or float16 numbers, little-endian, from base64. */
export function floatsOf(base64, half) {
  const bytes = bytesOf(base64);
  if (!half) return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) floats[i] = floatOfHalf(halves[i]);
  return floats;
}

function floatOfHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Return erf(x) with an absolute error below 2e-7 (Abramowitz & Stegun 1964, 7.1.26). */
export function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    t *
    (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

export const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  silu: (x) => x * sigmoid(x),
  softplus,
  tanh: Math.tanh,
};

/** Attach views of the weights to the layers of a network, in place. */
export function attachWeights(layers, numbers) {
  for (const layer of layers) {
    if (layer.layers) attachWeights(layer.layers, numbers);
    for (const name of ["weight", "bias"]) {
      if (!layer[name]) continue;
      const [offset, count] = layer[name];
      layer[name] = numbers.subarray(offset, offset + count);
    }
  }
  return layers;
}

/** Apply a network to numbers; the input is not changed. */
export function run(layers, input) {
  let values = input;
  for (const layer of layers) values = apply(layer, values);
  return values;
}

function apply(layer, input) {
  switch (layer.op) {
    case "linear":
      return linear(layer, input);
    case "convolution":
      return convolution(layer, input);
    case "transposed":
      return transposed(layer, input);
    case "residual":
      return add(run(layer.layers, input), input);
    case "resize":
      return resize(layer, input);
    default:
      return input.map(ACTIVATIONS[layer.op]);
  }
}

function add(first, second) {
  const sum = new Float32Array(first.length);
  for (let i = 0; i < sum.length; i++) sum[i] = first[i] + second[i];
  return sum;
}

function linear({ inputs, outputs, weight, bias }, input) {
  const result = new Float32Array(outputs);
  for (let o = 0, w = 0; o < outputs; o++) {
    let sum = bias[o];
    for (let i = 0; i < inputs; i++, w++) sum += weight[w] * input[i];
    result[o] = sum;
  }
  return result;
}

function resize({ from: [height, width, channels], to: [rows, columns] }, input) {
  const result = new Float32Array(rows * columns * channels);
  for (let y = 0, o = 0; y < rows; y++) {
    const row = Math.floor((y * height) / rows) * width;
    for (let x = 0; x < columns; x++, o += channels) {
      const start = (row + Math.floor((x * width) / columns)) * channels;
      result.set(input.subarray(start, start + channels), o);
    }
  }
  return result;
}

function filledWith(bias, pixels) {
  const result = new Float32Array(pixels * bias.length);
  for (let p = 0; p < pixels; p++) result.set(bias, p * bias.length);
  return result;
}

function convolution(layer, input) {
  const [height, width] = layer.from;
  const [rows, columns] = layer.to;
  const { stride, margin } = layer;
  const result = filledWith(layer.bias, rows * columns);
  for (let y = 0, o = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, o++) {
      taps(layer, y * stride - margin, x * stride - margin, height, width, (pixel, tap) =>
        accumulate(layer, input, pixel, result, o, tap),
      );
    }
  }
  return result;
}

// Transposed: each input pixel adds to the output pixels under the kernel.
function transposed(layer, input) {
  const [height, width] = layer.from;
  const [rows, columns] = layer.to;
  const { stride, margin } = layer;
  const result = filledWith(layer.bias, rows * columns);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      taps(layer, y * stride - margin, x * stride - margin, rows, columns, (pixel, tap) =>
        accumulate(layer, input, i, result, pixel, tap),
      );
    }
  }
  return result;
}

// Call `visit` with each pixel under the kernel whose corner is at (top, left), and its tap.
function taps({ kernel: [tall, wide] }, top, left, height, width, visit) {
  const firstRow = Math.max(0, -top);
  const firstColumn = Math.max(0, -left);
  const lastRow = Math.min(tall, height - top);
  const lastColumn = Math.min(wide, width - left);
  for (let r = firstRow; r < lastRow; r++) {
    for (let c = firstColumn; c < lastColumn; c++) {
      visit((top + r) * width + left + c, r * wide + c);
    }
  }
}

// Add one input pixel times one tap of the kernel to one output pixel.
function accumulate({ from, to, weight, by_input: byInput }, input, source, result, target, tap) {
  const inputs = from[2];
  const outputs = to[2];
  const start = source * inputs;
  const end = target * outputs;
  let w = tap * inputs * outputs;
  if (byInput) {
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++, w++) sum += weight[w] * input[start + i];
      result[end + o] += sum;
    }
    return;
  }
  for (let i = 0; i < inputs; i++, w += outputs) {
    const value = input[start + i];
    if (value === 0) continue;
    for (let o = 0; o < outputs; o++) result[end + o] += value * weight[w + o];
  }
}
