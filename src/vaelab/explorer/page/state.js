// What the page shows: a latent, the image that it belongs to, and who is told of changes.

import {
  decode,
  decodedOutputs,
  encode,
  gaussian,
  generationLoss,
  klPerDimension,
  meanOf,
} from "./model.js";

export class State {
  constructor(model) {
    this.model = model;
    this.latent = new Float32Array(model.latentDim);
    this.image = null; // { pixels, posterior, name, index }
    this.label = model.conditional ? 0 : -1;
    this.noise = false;
    this.views = [];
    this.pending = false;
  }

  /** Call `view` with this state after each change. */
  watch(view) {
    this.views.push(view);
  }

  /** Show an image: its posterior, and its mean as the latent. */
  showImage(pixels, name, index = null, posterior = null, label = -1) {
    if (this.model.conditional) this.label = label;
    const known = posterior ?? encode(this.model, pixels, this.label);
    this.image = { pixels, name, index, posterior: known };
    this.setLatent(known.mean);
  }

  /** Show the same latent under another label. */
  setLabel(label) {
    this.label = label;
    this.changed();
  }

  /** Show a latent that belongs to no image. */
  showDraw({ latent, label }) {
    this.image = null;
    this.noise = false;
    if (this.model.conditional) this.label = label ?? this.label;
    this.setLatent(latent);
  }

  setLatent(latent) {
    this.latent = Float32Array.from(latent);
    this.changed();
  }

  setDimension(index, value) {
    this.latent[index] = value;
    this.changed();
  }

  setNoise(on) {
    this.noise = on && Boolean(this.image);
    if (!this.noise && this.image) this.setLatent(this.image.posterior.mean);
    this.changed();
  }

  /** Draw z = mean + stddev * noise. */
  tremble() {
    const { mean, stddev } = this.image.posterior;
    this.latent = mean.map((m, i) => m + stddev[i] * gaussian());
    this.changed();
  }

  changed() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.outputs = this.model.decoder
        ? decodedOutputs(this.model, this.latent, this.label)
        : null;
      this.decoded = this.outputs && meanOf(this.model, this.outputs);
      for (const view of this.views) view(this);
    });
  }

  /** Return generation loss and KL loss in nats where the shown image and the model have them. */
  losses() {
    const { model, image, outputs } = this;
    const generation =
      image && outputs && model.hasLikelihood ? generationLoss(model, outputs, image.pixels) : null;
    const hasKl = image && model.posterior === "gaussian" && model.standardPrior && !model.codes;
    const kl = hasKl ? klPerDimension(image.posterior).reduce((a, b) => a + b, 0) : null;
    return { generation, kl };
  }

  decodeAt(latent) {
    return decode(this.model, latent, this.label);
  }
}
