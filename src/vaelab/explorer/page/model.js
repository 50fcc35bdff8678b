// The trained model: encode, decode, and the losses of one image.

import { attachWeights, floatsOf, run, sigmoid, softplus } from "./engine.js";

const UNIT_STDDEV_OFFSET = Math.log(Math.E - 1);
const MIN_STDDEV = 1e-6;
const LOG_TWO_PI = Math.log(2 * Math.PI);

/** Build the model from the page's data. */
export function buildModel(data) {
  const numbers = floatsOf(data.weights, data.half);
  const [channels, height, width] = data.shape;
  const model = { ...data, channels, height, width };
  for (const name of ["encoder", "decoder"]) {
    if (data[name]) model[name] = attachWeights(data[name], numbers);
  }
  if (data.offset) model.offset = numbers.subarray(data.offset[0], data.offset[0] + data.offset[1]);
  if (data.codes) model.entries = floatsOf(data.codes.entries, false);
  if (data.conditional) {
    const [offset, count] = data.conditional.planes;
    model.conditional.planes = numbers.subarray(offset, offset + count);
  }
  return model;
}

/** Return the posterior's mean and standard deviation of pixels in [0, 1]; no noise has stddev 0. */
export function encode(model, pixels, label = -1) {
  const input = model.conditional ? withPlane(model, pixels, label) : pixels;
  const outputs = run(model.encoder, input);
  const size = model.latentDim;
  if (model.codes) return { mean: quantize(model, outputs), stddev: new Float32Array(size) };
  if (model.posterior === "point") return { mean: outputs, stddev: new Float32Array(size) };
  const stddev = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    stddev[i] = Math.max(softplus(outputs[size + i] + UNIT_STDDEV_OFFSET), MIN_STDDEV);
  }
  return { mean: outputs.slice(0, size), stddev };
}

/** Return the decoder's outputs, the parameters of p(x|z). */
export function decodedOutputs(model, latent, label = -1) {
  const outputs = run(model.decoder, model.conditional ? withLabel(model, latent, label) : latent);
  for (let i = 0; i < outputs.length; i++) outputs[i] += model.offset[i];
  return outputs;
}

/** Return the mean of p(x|z), clipped to [0, 1]. */
export function meanOf(model, outputs) {
  const pixels = new Float32Array(model.height * model.width * model.channels);
  const { channels } = model;
  const perPixel = outputs.length / (model.height * model.width);
  for (let i = 0; i < pixels.length; i++) {
    const output = outputs[Math.floor(i / channels) * perPixel + (i % channels)];
    pixels[i] = Math.min(1, Math.max(0, meanOfPixel(model.likelihood, output)));
  }
  return pixels;
}

export const decode = (model, latent, label) => meanOf(model, decodedOutputs(model, latent, label));

// A conditional model's inputs: see vaelab.models.conditional. The last row is for no label.
const rowOf = (model, label) => (label < 0 ? model.conditional.classes : label);

function withPlane(model, pixels, label) {
  const area = model.height * model.width;
  const { channels } = model;
  const start = rowOf(model, label) * area;
  const input = new Float32Array(area * (channels + 1));
  for (let p = 0; p < area; p++) {
    input.set(pixels.subarray(p * channels, (p + 1) * channels), p * (channels + 1));
    input[p * (channels + 1) + channels] = model.conditional.planes[start + p];
  }
  return input;
}

function withLabel(model, latent, label) {
  const input = new Float32Array(model.latentDim + model.conditional.classes + 1);
  input.set(latent);
  input[model.latentDim + rowOf(model, label)] = model.conditional.labelScale;
  return input;
}

function meanOfPixel(likelihood, output) {
  if (likelihood.name === "gaussian" && likelihood.linear) return output;
  if (likelihood.name !== "continuous_bernoulli") return sigmoid(output);
  // p / (2p - 1) + 1 / (2 artanh(1 - 2p)), and its series near 1/2
  if (Math.abs(output) < 0.3) {
    const square = output * output;
    return 0.5 + output * (1 / 12 - square / 720 + (square * square) / 30240);
  }
  const size = Math.abs(output);
  const rising = 1 / -Math.expm1(-size) - 1 / size;
  return output > 0 ? rising : 1 - rising;
}

/** Return -ln p(x|z) in nats. */
export function generationLoss(model, outputs, pixels) {
  const { name, variance, linear } = model.likelihood;
  const { channels } = model;
  const perPixel = outputs.length / (model.height * model.width);
  let total = 0;
  for (let i = 0; i < pixels.length; i++) {
    const first = Math.floor(i / channels) * perPixel + (i % channels);
    const output = outputs[first];
    if (name === "gaussian") {
      const error = pixels[i] - (linear ? output : sigmoid(output));
      total += 0.5 * ((error * error) / variance + Math.log(variance) + LOG_TWO_PI);
    } else if (name === "discretized_logistic") {
      total -= logisticLogProb(pixels[i], sigmoid(output), -7 * sigmoid(outputs[first + channels]));
    } else {
      total += softplus(output) - pixels[i] * output;
      if (name === "continuous_bernoulli") total -= logNormalizer(output);
    }
  }
  return total;
}

// ln C(p) of the continuous Bernoulli as a function of the logit.
function logNormalizer(logit) {
  const size = Math.abs(logit);
  if (size < 0.3) {
    const square = size * size;
    return Math.LN2 + square / 12 - (7 * square ** 2) / 1440 + (31 * square ** 3) / 90720;
  }
  return Math.log(size) - Math.log(Math.tanh(size / 2));
}

// The logistic's mass between the midpoints to the neighboring gray levels.
function logisticLogProb(value, mean, logScale) {
  const inverse = Math.exp(-logScale);
  const half = 0.5 / 255;
  const below = -softplus(-(value - mean + half) * inverse);
  const above = -softplus((value - mean - half) * inverse);
  if (value < half) return below;
  if (value > 1 - half) return above;
  return below + above + Math.log(-Math.expm1(-2 * half * inverse));
}

/** Return KL(q(z|x) || N(0, 1)) of each dimension in nats. */
export function klPerDimension({ mean, stddev }) {
  return mean.map((m, i) => 0.5 * (m * m + stddev[i] ** 2 - 1) - Math.log(stddev[i]));
}

/** Return the nearest entry of the codebook at each position. */
export function quantize(model, latent) {
  const { size, positions } = model.codes;
  const result = new Float32Array(latent.length);
  for (let p = 0; p < positions; p++) {
    const code = nearestCode(model, latent, p);
    result.set(model.entries.subarray(code * size, (code + 1) * size), p * size);
  }
  return result;
}

/** Return the index of the entry that is nearest to a latent's part at a position. */
export function nearestCode(model, latent, position) {
  const { size } = model.codes;
  let best = 0;
  let least = Infinity;
  for (let code = 0; code * size < model.entries.length; code++) {
    let distance = 0;
    for (let i = 0; i < size; i++) {
      distance += (latent[position * size + i] - model.entries[code * size + i]) ** 2;
    }
    if (distance < least) [best, least] = [code, distance];
  }
  return best;
}

/** Return a number from N(0, 1): Box & Muller 1958. */
export const gaussian = () =>
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** Return the point at a fraction of the way from one latent to another. */
export function interpolate(first, second, fraction, spherical) {
  const norm = (v) => Math.hypot(...v);
  const lengths = norm(first) * norm(second);
  const cosine = lengths ? first.reduce((sum, v, i) => sum + v * second[i], 0) / lengths : 1;
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const isStraight = !spherical || Math.sin(angle) < 1e-4;
  const before = isStraight ? 1 - fraction : Math.sin((1 - fraction) * angle) / Math.sin(angle);
  const after = isStraight ? fraction : Math.sin(fraction * angle) / Math.sin(angle);
  return first.map((v, i) => before * v + after * second[i]);
}

/** Rearrange pixels from [channel, row, column], as PyTorch has them, to [row, column, channel]. */
export function toPixelOrder(model, values) {
  const flat = Array.from(values).flat(Infinity);
  const area = model.height * model.width;
  const pixels = new Float32Array(flat.length);
  for (let i = 0; i < flat.length; i++)
    pixels[(i % area) * model.channels + Math.floor(i / area)] = flat[i];
  return pixels;
}

/** The inverse of `toPixelOrder`. */
export function toChannelOrder(model, pixels) {
  const area = model.height * model.width;
  const values = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    values[i] = pixels[(i % area) * model.channels + Math.floor(i / area)];
  }
  return values;
}
