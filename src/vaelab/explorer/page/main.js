// Builds the page from its data, and offers `window.vaelab` to other scripts.

import { button, fillSelect, find, formatNumber, prefersReducedMotion } from "./dom.js";
import { bytesOf, floatsOf } from "./engine.js";
import { drawDifference, drawPixels, loadImage, Sheet } from "./images.js";
import { describePosition, LatentMap } from "./map.js";
import { buildModel, decode, encode, gaussian, toChannelOrder, toPixelOrder } from "./model.js";
import { OwnImage } from "./own.js";
import { Sliders } from "./sliders.js";
import { State } from "./state.js";
import { Walks } from "./walks.js";

const NEIGHBORS = 6;
const TREMBLE = 160; // milliseconds between two draws

async function start() {
  const page = JSON.parse(find("#data").textContent);
  describe(page);
  if (!page.decoder) return showWithoutDecoder(page);
  const data = prepare(page);
  const state = new State(data);
  offer(data);
  const sheet =
    page.images && new Sheet(await loadImage(page.images.address), page.images, data.channels);
  data.showTestImage = (index) => {
    const posterior = {
      mean: data.means.slice(index * data.latentDim, (index + 1) * data.latentDim),
      stddev: data.stddevs.slice(index * data.latentDim, (index + 1) * data.latentDim),
    };
    const label = data.labels?.[index] < data.classes?.length ? data.labels[index] : -1;
    state.showImage(sheet.pixels(index), data.nameOf(index), index, posterior, label);
  };
  const map = data.latentDim > 1 ? new LatentMap(state, data, sheet) : null;
  if (!map) find("#map-panel").hidden = true;
  if (!sheet && map)
    find("#map-help").textContent = "Drag, or use the arrow keys, to move the latent.";
  new Sliders(state, data);
  if (data.encoder) new OwnImage(state, data);
  else hideAll("#own-panel", "#story-panel", "#sliders-help");
  showImages(state, data, map);
  sources(state, data, sheet);
  if (sheet) neighbors(state, data, sheet);
  else find("#neighbors-panel").hidden = true;
  story(state, data);
  if (sheet) data.showTestImage(page.images.first);
  else state.showDraw(data.draw());
  if (data.latentDim > 1 && !data.codes) new Walks(state, data);
  else find("#walks-panel").hidden = true;
  document.documentElement.dataset.ready = "true";
}

function hideAll(...selectors) {
  for (const selector of selectors) find(selector).hidden = true;
}

function describe(page) {
  document.title = page.title;
  find("h1").textContent = page.title;
  find("#facts").textContent = page.facts;
}

/** What the page shows of a model that it cannot run. */
function showWithoutDecoder(page) {
  find("#live").hidden = true;
  find("#fallback").hidden = false;
  find("#reason").textContent = page.reason;
  if (page.traversals) find("#traversals").src = page.traversals;
  document.documentElement.dataset.ready = "true";
}

/** Decode the arrays of the page's data. */
function prepare(page) {
  const data = buildModel(page);
  const size = page.latentDim;
  for (const name of ["means", "stddevs"]) if (page[name]) data[name] = floatsOf(page[name], true);
  if (page.labels) data.labels = bytesOf(page.labels);
  if (page.plane) {
    const plane = floatsOf(page.plane, false);
    data.plane = {
      origin: plane.subarray(0, size),
      axes: [plane.subarray(size, 2 * size), plane.subarray(2 * size)],
    };
  }
  const means = floatsOf(page.groupMeans, false);
  data.groups = page.groups.map((name, i) => ({
    name,
    mean: means.subarray(i * size, (i + 1) * size),
  }));
  for (const name of ["priorDraws", "samplerDraws"])
    if (page[name]) data[name] = floatsOf(page[name], true);
  const kl = (i) => page.dimensions[i].kl ?? page.dimensions[i].stddev;
  data.order = page.dimensions.map((_, i) => i).sort((a, b) => kl(b) - kl(a));
  data.nameOf = (index) => {
    const label =
      data.labels && data.classes ? ` · ${data.classes[data.labels[index]] ?? "no label"}` : "";
    return `test image ${index}${label}`;
  };
  for (const name of ["priorLabels", "samplerLabels"])
    if (page[name]) data[name] = bytesOf(page[name]);
  data.draw = (from = data.samplerDraws ? "sampler" : "prior") =>
    draw(data, data[`${from}Draws`], data[`${from}Labels`]);
  return data;
}

/** Return a latent, with its label if it has one: one of those stored, or of N(0, I). */
function draw(data, draws, labels) {
  const size = data.latentDim;
  if (!draws) return { latent: Float32Array.from({ length: size }, gaussian) };
  const row = Math.floor((Math.random() * draws.length) / size);
  return { latent: draws.slice(row * size, (row + 1) * size), label: labels?.[row] };
}

/** Offer encode and decode on pixels and latents in PyTorch's order, [channel, row, column]. */
function offer(data) {
  window.vaelab = {
    decode: (latent) =>
      toChannelOrder(data, decode(data, Float32Array.from(Array.from(latent).flat(Infinity)))),
    encode: data.encoder
      ? (pixels) => {
          const { mean, stddev } = encode(data, toPixelOrder(data, pixels));
          return Object.assign(mean, { mean, stddev });
        }
      : undefined,
    shape: data.shape,
    latentDim: data.latentDim,
  };
}

function showImages(state, data, map) {
  const { height, width, channels } = data;
  state.watch(() => {
    const { image, decoded } = state;
    drawPixels(find("#decoded"), decoded, height, width, channels);
    for (const id of ["#original", "#difference"]) find(id).parentElement.hidden = !image;
    if (image) {
      drawPixels(find("#original"), image.pixels, height, width, channels);
      drawDifference(find("#difference"), decoded, image.pixels, height, width, channels);
    }
    const { generation, kl } = state.losses();
    find("#source").textContent = image ? image.name : "a latent that belongs to no image";
    const parts = [];
    if (generation !== null) parts.push(`generation loss ${formatNumber(generation, 4)} nats`);
    if (kl !== null) parts.push(`KL loss ${formatNumber(kl, 3)} nats`);
    find("#losses").textContent = parts.join(" · ");
    if (map) find("#position").textContent = describePosition(map);
  });
}

function sources(state, data, sheet) {
  const buttons = [];
  if (sheet) {
    buttons.push(
      button("Back to the image", () => state.image && state.setLatent(state.image.posterior.mean)),
    );
    buttons.push(
      button("Another test image", () =>
        data.showTestImage(Math.floor(Math.random() * (data.means.length / data.latentDim))),
      ),
    );
  }
  if (!data.codes)
    buttons.push(
      button(data.standardPrior ? "Mean of the prior" : "Mean of the latents", () =>
        state.showDraw({ latent: meanLatent(data) }),
      ),
    );
  buttons.push(button("Draw from the prior", () => state.showDraw(data.draw("prior"))));
  if (data.samplerDraws) {
    buttons.push(
      button(`Draw from the sampler (${data.samplerTitle})`, () =>
        state.showDraw(data.draw("sampler")),
      ),
    );
  }
  find("#sources").replaceChildren(...buttons);
  const label = find("#label");
  label.parentElement.hidden = !data.conditional;
  if (data.conditional) {
    fillSelect(label, data.classes);
    label.onchange = () => state.setLabel(Number(label.value));
    state.watch(() => (label.value = String(state.label)));
  }
}

function meanLatent(data) {
  return Float32Array.from(data.dimensions, ({ mean }) => (data.standardPrior ? 0 : mean));
}

/** Show the test images whose posterior means are nearest to the latent. */
function neighbors(state, data, sheet) {
  const size = data.latentDim;
  const list = find("#neighbors");
  state.watch(() => {
    const found = [];
    for (let i = 0; i * size < data.means.length; i++) {
      let distance = 0;
      for (let d = 0; d < size; d++) distance += (data.means[i * size + d] - state.latent[d]) ** 2;
      if (found.length < NEIGHBORS || distance < found[NEIGHBORS - 1].distance) {
        found.push({ distance, index: i });
        found.sort((a, b) => a.distance - b.distance);
        found.length = Math.min(found.length, NEIGHBORS);
      }
    }
    list.replaceChildren(
      ...found.map(({ index }) => {
        const shown = button("", () => data.showTestImage(index));
        shown.setAttribute("aria-label", data.nameOf(index));
        shown.title = data.nameOf(index);
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height, canvas.className] = [sheet.width, sheet.height, "pixels"];
        sheet.drawTile(canvas.getContext("2d"), index, 0, 0, canvas.width, canvas.height);
        shown.append(canvas);
        return shown;
      }),
    );
  });
}

function story(state, data) {
  const noise = find("#noise");
  const isNoisy = Boolean(data.encoder) && data.posterior === "gaussian" && !data.codes;
  find("#noise-control").hidden = !isNoisy;
  let timer = null;
  noise.onchange = () => {
    state.setNoise(noise.checked);
    clearInterval(timer);
    if (state.noise) {
      state.tremble();
      if (!prefersReducedMotion())
        timer = setInterval(() => state.noise && state.tremble(), TREMBLE);
    }
  };
  state.watch(() => {
    if (noise.checked && !state.noise) {
      noise.checked = false;
      clearInterval(timer);
    }
    noise.disabled = !state.image;
    const { generation, kl } = state.losses();
    find("#story-generation").textContent =
      generation === null ? "" : `Now: ${formatNumber(generation, 4)} nats.`;
    find("#story-kl").textContent = kl === null ? "" : `This image: ${formatNumber(kl, 3)} nats.`;
    find("#story-encoder").textContent = state.image && isNoisy ? encoderSentence(state, data) : "";
  });
}

function encoderSentence(state, data) {
  const { mean, stddev } = state.image.posterior;
  const index = data.order[0];
  return `This image: dimension ${index} has mean ${formatNumber(mean[index], 2)} and standard deviation ${formatNumber(stddev[index], 2)}.`;
}

start();
