// Walks from one latent to another.

import { fillSelect, find, prefersReducedMotion } from "./dom.js";
import { drawPixels } from "./images.js";
import { interpolate } from "./model.js";

const STEPS = 9;
const DURATION = 3000; // milliseconds from one end to the other

export class Walks {
  constructor(state, data) {
    Object.assign(this, { state, data });
    this.ends = [Float32Array.from(state.latent), data.draw().latent];
    const names = [
      "the latent that is shown",
      "a random draw",
      ...data.groups.map((group) => group.name),
    ];
    for (const [end, id] of ["#walk-from", "#walk-to"].entries()) {
      const select = find(id);
      fillSelect(select, names);
      select.value = String(data.groups.length > 1 ? 2 + end : end);
      select.onchange = () => this.choose(end, Number(select.value));
      this.choose(end, Number(select.value), false);
    }
    find("#walk-path").onchange = () => this.drawStrip();
    find("#walk-position").oninput = (event) => this.go(Number(event.target.value));
    find("#walk-play").onclick = () => this.play();
    this.drawStrip();
  }

  choose(end, choice, draw = true) {
    if (choice === 0) this.ends[end] = Float32Array.from(this.state.latent);
    else if (choice === 1) this.ends[end] = this.data.draw().latent;
    else this.ends[end] = this.data.groups[choice - 2].mean;
    if (draw) this.drawStrip();
  }

  at(fraction) {
    return interpolate(...this.ends, fraction, find("#walk-path").value === "spherical");
  }

  go(fraction) {
    find("#walk-position").value = fraction;
    this.state.image = null;
    this.state.noise = false;
    this.state.setLatent(this.at(fraction));
  }

  drawStrip() {
    const { height, width, channels } = this.data;
    const tiles = Array.from({ length: STEPS }, (_, step) => {
      const canvas = document.createElement("canvas");
      canvas.className = "pixels";
      drawPixels(canvas, this.state.decodeAt(this.at(step / (STEPS - 1))), height, width, channels);
      return canvas;
    });
    find("#walk-strip").replaceChildren(...tiles);
  }

  play() {
    if (prefersReducedMotion()) return this.go(Number(find("#walk-position").value) < 0.5 ? 1 : 0);
    this.playing = !this.playing;
    find("#walk-play").textContent = this.playing ? "Stop" : "Play";
    const start = performance.now();
    const frame = (now) => {
      if (!this.playing) return;
      // Forth and back
      const phase = ((now - start) / DURATION) % 2;
      this.go(phase < 1 ? phase : 2 - phase);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
}
