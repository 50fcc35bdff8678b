// The map: latent means of test images in a plane, and the latent that is shown.

import { element, fillSelect, find, formatNumber } from "./dom.js";
import { imageData } from "./images.js";

// Ten colors that remain apart for all kinds of color vision: Petroff 2021 (arXiv:2107.02270).
export const COLORS = [
  "#3f90da",
  "#ffa90e",
  "#bd1f01",
  "#94a4a2",
  "#832db6",
  "#a96b59",
  "#e76300",
  "#b9ac70",
  "#717581",
  "#92dadd",
];
const MARGIN = 24;
const NEAR = 14; // pixels at which a thumbnail appears
const CLICK = 4; // pixels of movement below which a press is a click
const GRID = 14; // images of the decoded plane, a side

export class LatentMap {
  constructor(state, data, thumbnails) {
    Object.assign(this, { state, data, thumbnails });
    this.canvas = find("#map");
    this.points = document.createElement("canvas");
    this.manifold = null;
    this.setAxes();
    this.listen();
    state.watch(() => this.draw());
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.legend();
  }

  /** Choose the plane: principal components, or two dimensions. */
  setAxes() {
    const { latentDim, plane, means } = this.data;
    const names = Array.from({ length: latentDim }, (_, i) => `dimension ${i}`);
    for (const [id, index] of [
      ["#axis-x", this.data.order[0]],
      ["#axis-y", this.data.order[1] ?? 0],
    ]) {
      const select = find(id);
      if (!select.options.length) {
        fillSelect(select, names);
        select.value = String(index);
        select.onchange = () => this.update();
      }
    }
    const kind = find("#plane");
    if (!kind.options.length) {
      if (plane) kind.append(new Option("principal components", "principal"));
      kind.append(new Option("two dimensions", "dimensions"));
      kind.value = plane && latentDim > 2 ? "principal" : "dimensions";
      kind.onchange = () => this.update();
    }
    const isPrincipal = kind.value === "principal";
    find("#axes").hidden = isPrincipal;
    this.origin = isPrincipal ? plane.origin : new Float32Array(latentDim);
    this.axes = isPrincipal
      ? plane.axes
      : ["#axis-x", "#axis-y"].map((id) => {
          const axis = new Float32Array(latentDim);
          axis[Number(find(id).value)] = 1;
          return axis;
        });
    this.count = means ? means.length / latentDim : 0;
    this.x = new Float32Array(this.count);
    this.y = new Float32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      [this.x[i], this.y[i]] = this.project(means.subarray(i * latentDim, (i + 1) * latentDim));
    }
    const reach = this.count
      ? 1.05 * Math.max(quantile(this.x, 0.999), quantile(this.y, 0.999))
      : 3;
    this.reach = Math.max(reach, this.data.standardPrior ? 2.5 : 1e-3);
  }

  update() {
    this.manifold = null;
    find("#show-manifold").checked = false;
    this.setAxes();
    this.drawPoints();
    this.draw();
  }

  project(latent) {
    return this.axes.map((axis) =>
      axis.reduce((sum, a, i) => sum + a * (latent[i] - this.origin[i]), 0),
    );
  }

  /** Return the shown latent with its coordinates in the plane replaced. */
  moved(u, v, latent = this.state.latent) {
    const [x, y] = this.project(latent);
    return latent.map((z, i) => z + (u - x) * this.axes[0][i] + (v - y) * this.axes[1][i]);
  }

  toPixels(u, v) {
    const half = this.size / 2;
    const scale = (half - MARGIN) / this.reach;
    return [half + u * scale, half - v * scale];
  }

  fromPixels(x, y) {
    const half = this.size / 2;
    const scale = (half - MARGIN) / this.reach;
    return [(x - half) / scale, (half - y) / scale];
  }

  resize() {
    const size = Math.round(this.canvas.clientWidth);
    if (!size || size === this.size) return;
    this.size = size;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [this.canvas, this.points]) {
      canvas.width = canvas.height = Math.round(size * this.ratio);
    }
    this.drawPoints();
    this.draw();
  }

  drawPoints() {
    if (!this.size) return;
    const context = this.points.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.size, this.size);
    const radius = this.count > 3000 ? 1.3 : 2.2;
    context.globalAlpha = 0.75;
    for (let i = 0; i < this.count; i++) {
      const [x, y] = this.toPixels(this.x[i], this.y[i]);
      context.fillStyle = this.color(i);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  color(index) {
    const { labels } = this.data;
    return labels && labels[index] < this.data.classes.length
      ? COLORS[labels[index] % COLORS.length]
      : "#3f90da";
  }

  draw() {
    if (!this.size) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.size, this.size);
    if (this.manifold) this.drawManifold(context);
    context.globalAlpha = this.manifold ? 0.35 : 1;
    context.drawImage(this.points, 0, 0, this.size, this.size);
    context.globalAlpha = 1;
    if (this.data.standardPrior) this.drawPrior(context);
    const [x, y] = this.toPixels(...this.project(this.state.latent));
    context.lineWidth = 3;
    for (const [radius, color] of [
      [9, "#ffffff"],
      [7, "#111111"],
    ]) {
      context.strokeStyle = color;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  // The circle at two standard deviations of the prior
  drawPrior(context) {
    const [left] = this.toPixels(-2, 0);
    context.setLineDash([4, 4]);
    context.lineWidth = 1;
    context.strokeStyle = "#555555";
    context.beginPath();
    context.arc(this.size / 2, this.size / 2, this.size / 2 - left, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
  }

  legend() {
    const { classes, labels } = this.data;
    if (!classes || !labels) return;
    const shown = classes.slice(0, 20).map((name, index) =>
      element(
        "li",
        {},
        element("span", {
          className: "dot",
          style: `background:${COLORS[index % COLORS.length]}`,
        }),
        name,
      ),
    );
    find("#legend").replaceChildren(...shown);
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.press = { x: event.offsetX, y: event.offsetY, moved: false };
    };
    canvas.onpointermove = (event) => {
      if (!this.press) return this.hover(event.offsetX, event.offsetY);
      if (Math.hypot(event.offsetX - this.press.x, event.offsetY - this.press.y) > CLICK)
        this.press.moved = true;
      if (this.press.moved) this.moveTo(event.offsetX, event.offsetY);
    };
    canvas.onpointerup = (event) => {
      const isClick = this.press && !this.press.moved;
      this.press = null;
      if (!isClick) return;
      const near = this.nearest(event.offsetX, event.offsetY);
      if (near !== null) this.choose(near);
      else this.moveTo(event.offsetX, event.offsetY);
    };
    canvas.onpointercancel = () => (this.press = null);
    canvas.onpointerleave = () => (find("#hover").hidden = true);
    canvas.onkeydown = (event) => this.key(event);
    find("#show-manifold").onchange = (event) => {
      if (event.target.checked) this.computeManifold();
      else this.manifold = null;
      this.draw();
    };
  }

  key(event) {
    const step = this.reach / 40;
    const moves = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, step],
      ArrowDown: [0, -step],
    };
    const [x, y] = this.project(this.state.latent);
    if (event.key in moves) {
      const [du, dv] = moves[event.key];
      this.state.noise = false;
      this.state.setLatent(this.moved(x + du, y + dv));
    } else if (event.key === "Enter") {
      const near = this.nearest(...this.toPixels(x, y), Infinity);
      if (near !== null) this.choose(near);
    } else return;
    event.preventDefault();
  }

  moveTo(x, y) {
    this.state.noise = false;
    this.state.setLatent(this.moved(...this.fromPixels(x, y)));
  }

  nearest(x, y, within = NEAR) {
    let best = null;
    let least = within;
    for (let i = 0; i < this.count; i++) {
      const [px, py] = this.toPixels(this.x[i], this.y[i]);
      const distance = Math.hypot(px - x, py - y);
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  hover(x, y) {
    const near = this.thumbnails ? this.nearest(x, y) : null;
    const box = find("#hover");
    box.hidden = near === null;
    if (near === null) return;
    const canvas = find("canvas", box);
    [canvas.width, canvas.height] = [this.thumbnails.width, this.thumbnails.height];
    this.thumbnails.drawTile(canvas.getContext("2d"), near, 0, 0, canvas.width, canvas.height);
    find("span", box).textContent = this.data.nameOf(near);
    box.style.left = `${Math.min(x + 14, this.size - 110)}px`;
    box.style.top = `${Math.min(y + 14, this.size - 120)}px`;
  }

  choose(index) {
    this.data.showTestImage(index);
  }

  /** Decode a grid over the plane, a row of images at a time so that the page stays responsive. */
  computeManifold() {
    const { height, width, channels } = this.data;
    const manifold = new OffscreenCanvas(GRID * width, GRID * height);
    this.manifold = manifold;
    const context = manifold.getContext("2d");
    const base = Float32Array.from(this.state.latent);
    const at = (i) => ((2 * i + 1) / GRID - 1) * this.reach;
    const row = (r) => {
      if (this.manifold !== manifold || r === GRID) return;
      for (let c = 0; c < GRID; c++) {
        const pixels = this.state.decodeAt(this.moved(at(c), -at(r), base));
        context.putImageData(imageData(pixels, height, width, channels), c * width, r * height);
      }
      this.draw();
      requestAnimationFrame(() => row(r + 1));
    };
    row(0);
  }

  drawManifold(context) {
    context.imageSmoothingEnabled = false;
    const [left, top] = this.toPixels(-this.reach, this.reach);
    context.drawImage(this.manifold, left, top, this.size - 2 * left, this.size - 2 * top);
  }
}

function quantile(values, share) {
  const sorted = Float32Array.from(values, Math.abs).sort();
  return sorted[Math.floor(share * (sorted.length - 1))];
}

/** Describe the position for readers who do not see the map. */
export function describePosition(map) {
  const [x, y] = map.project(map.state.latent);
  return `at ${formatNumber(x, 2)}, ${formatNumber(y, 2)}`;
}
