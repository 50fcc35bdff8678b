// An image of one's own: drawn with pointer or finger, or read from a file.

import { find } from "./dom.js";
import { drawFitted, loadImage, readPixels } from "./images.js";

const SCALE = 10; // canvas pixels for each image pixel

export class OwnImage {
  constructor(state, data) {
    Object.assign(this, { state, data });
    this.canvas = find("#own");
    const scale = Math.max(1, Math.round((SCALE * 28) / Math.max(data.height, data.width)));
    this.canvas.width = scale * data.width;
    this.canvas.height = scale * data.height;
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    find("#brush-color").parentElement.hidden = data.channels !== 3;
    this.clear();
    this.listen();
  }

  clear() {
    this.context.fillStyle = this.data.background;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.last = this.position(event);
      this.stroke(event);
    };
    canvas.onpointermove = (event) => this.last && this.stroke(event);
    canvas.onpointerup = canvas.onpointercancel = () => (this.last = null);
    find("#own-clear").onclick = () => this.clear();
    find("#own-file").onchange = (event) => this.open(event.target.files[0]);
    const area = find("#own-area");
    area.ondragover = (event) => event.preventDefault();
    area.ondrop = (event) => {
      event.preventDefault();
      this.open(event.dataTransfer.files[0]);
    };
  }

  position(event) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    return [event.offsetX * ratio, event.offsetY * ratio];
  }

  stroke(event) {
    const next = this.position(event);
    const isDark = this.data.background === "#000000";
    const ink =
      this.data.channels === 3 ? find("#brush-color").value : isDark ? "#ffffff" : "#000000";
    this.context.strokeStyle = ink;
    this.context.lineWidth = this.canvas.width * Number(find("#brush-width").value);
    this.context.lineCap = this.context.lineJoin = "round";
    this.context.beginPath();
    this.context.moveTo(...this.last);
    this.context.lineTo(...next);
    this.context.stroke();
    this.last = next;
    this.show("your drawing");
  }

  async open(file) {
    if (!file) return;
    const message = find("#own-message");
    const address = URL.createObjectURL(file);
    try {
      drawFitted(this.context, await loadImage(address), this.data.resize);
      message.textContent = "";
      this.show(file.name);
    } catch (error) {
      message.textContent = `${file.name}: ${error.message}`;
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  /** Encode what is drawn, averaged down to the image's size. */
  show(name) {
    const { height, width, channels } = this.data;
    const small = document.createElement("canvas");
    [small.width, small.height] = [width, height];
    const context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(this.canvas, 0, 0, width, height);
    this.state.showImage(readPixels(context, 0, 0, height, width, channels), name);
  }
}
