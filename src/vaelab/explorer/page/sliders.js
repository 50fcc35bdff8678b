// A slider for each latent dimension, or for each code.

import { element, find, formatNumber } from "./dom.js";
import { nearestCode } from "./model.js";

const SHOWN = 10; // dimensions that are not folded away

export class Sliders {
  constructor(state, data) {
    Object.assign(this, { state, data, rows: [] });
    if (data.codes) this.buildCodes();
    else this.buildDimensions();
    state.watch(() => this.show());
  }

  buildDimensions() {
    const { dimensions, order } = this.data;
    const active = order.filter((index) => dimensions[index].active !== false);
    const rows = active.map((index) => this.dimension(index));
    find("#sliders").append(...rows.slice(0, SHOWN));
    fold(`${rows.length - SHOWN} more dimensions`, rows.slice(SHOWN));
    const inactive = order.filter((index) => dimensions[index].active === false);
    fold(
      `${inactive.length} inactive dimensions: their means hardly change from image to image`,
      inactive.map((index) => this.dimension(index)),
    );
  }

  dimension(index) {
    const { kl, mean, stddev } = this.data.dimensions[index];
    const reach = 3.5 * stddev;
    const [low, high] = this.data.standardPrior ? [-3.5, 3.5] : [mean - reach, mean + reach];
    const id = `dimension-${index}`;
    const input = element("input", {
      id,
      type: "range",
      min: low,
      max: high,
      step: (high - low) / 1000,
    });
    const value = element("output", { for: id });
    const band = element("div", { className: "band", hidden: true });
    const nats = kl === null || kl === undefined ? "" : ` · ${formatNumber(kl, 2)} nats`;
    input.oninput = () => {
      this.state.noise = false;
      this.state.setDimension(index, Number(input.value));
    };
    this.rows.push(() => {
      const z = this.state.latent[index];
      input.value = z;
      value.textContent = formatNumber(z, 2);
      const posterior = this.state.image?.posterior;
      band.hidden = !posterior;
      if (!posterior) return;
      const share = (v) => (100 * (v - low)) / (high - low);
      const width = Math.max(1, share(low + 2 * posterior.stddev[index]));
      band.style.width = `${Math.min(width, 100)}%`;
      band.style.left = `${Math.min(99, Math.max(0, share(posterior.mean[index]) - width / 2))}%`;
    });
    const label = element("label", { for: id }, `dimension ${index}${nats}`);
    return element(
      "div",
      { className: "slider" },
      label,
      value,
      input,
      element("div", { className: "track" }, band),
    );
  }

  buildCodes() {
    const { positions, size } = this.data.codes;
    const codes = this.data.entries.length / size;
    const rows = Array.from({ length: positions }, (_, position) => {
      const id = `code-${position}`;
      const input = element("input", { id, type: "range", min: 0, max: codes - 1, step: 1 });
      const value = element("output", { for: id });
      input.oninput = () => {
        const latent = Float32Array.from(this.state.latent);
        const code = Number(input.value);
        latent.set(this.data.entries.subarray(code * size, (code + 1) * size), position * size);
        this.state.setLatent(latent);
      };
      this.rows.push(() => {
        input.value = nearestCode(this.data, this.state.latent, position);
        value.textContent = input.value;
      });
      const label = element("label", { for: id }, `code at position ${position}`);
      return element("div", { className: "slider" }, label, value, input);
    });
    find("#sliders").append(...rows);
  }

  show() {
    for (const row of this.rows) row();
  }
}

function fold(title, rows) {
  if (!rows.length) return;
  find("#sliders").append(element("details", {}, element("summary", {}, title), ...rows));
}
