// Pixels and canvases.

/** Draw pixels [row, column, channel] in [0, 1] on a canvas of the same size. */
export function drawPixels(canvas, pixels, height, width, channels) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(imageData(pixels, height, width, channels), 0, 0);
}

/** Convert pixels in [0, 1] to the form that canvases take. */
export function imageData(pixels, height, width, channels) {
  const image = new ImageData(width, height);
  for (let p = 0; p < height * width; p++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * p + c] = Math.round(255 * pixels[p * channels + (channels === 3 ? c : 0)]);
    }
    image.data[4 * p + 3] = 255;
  }
  return image;
}

/** Draw the difference of two images: white is none, red too bright, blue too dark. */
export function drawDifference(canvas, decoded, original, height, width, channels) {
  const colors = new Float32Array(height * width * 3);
  for (let p = 0; p < height * width; p++) {
    let difference = 0;
    for (let c = 0; c < channels; c++) {
      difference += decoded[p * channels + c] - original[p * channels + c];
    }
    difference = Math.max(-1, Math.min(1, (2 * difference) / channels));
    const [red, green, blue] = difference > 0 ? [0.7, 0.05, 0.1] : [0.1, 0.25, 0.75];
    const strength = Math.abs(difference);
    colors.set(
      [1 - strength * (1 - red), 1 - strength * (1 - green), 1 - strength * (1 - blue)],
      3 * p,
    );
  }
  drawPixels(canvas, colors, height, width, 3);
}

/** Read the pixels of a part of a canvas, gray or in color, in [0, 1]. */
export function readPixels(context, left, top, height, width, channels) {
  const { data } = context.getImageData(left, top, width, height);
  const pixels = new Float32Array(height * width * channels);
  for (let p = 0; p < height * width; p++) {
    const [red, green, blue] = data.subarray(4 * p, 4 * p + 3);
    if (channels === 3) pixels.set([red / 255, green / 255, blue / 255], 3 * p);
    // The weights of ITU-R 601-2, as in Pillow
    else pixels[p] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  }
  return pixels;
}

/** Decode an image file or data address. */
export function loadImage(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("this file is not an image that the browser can read"));
    image.src = address;
  });
}

/** Draw an image on a canvas so that it fits as the pipeline's `data.resize` has it. */
export function drawFitted(context, image, mode) {
  const { width, height } = context.canvas;
  const ratio = [width / image.width, height / image.height];
  const scale = mode === "pad" ? Math.min(...ratio) : Math.max(...ratio);
  const size = mode === "stretch" ? [width, height] : [image.width * scale, image.height * scale];
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
}

/** A sheet of equal tiles in one image, row by row. */
export class Sheet {
  constructor(image, { columns, height, width }, channels) {
    Object.assign(this, { image, columns, height, width, channels });
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(image, 0, 0);
  }

  corner(index) {
    return [(index % this.columns) * this.width, Math.floor(index / this.columns) * this.height];
  }

  pixels(index) {
    return readPixels(this.context, ...this.corner(index), this.height, this.width, this.channels);
  }

  drawTile(context, index, x, y, width, height) {
    context.drawImage(
      this.image,
      ...this.corner(index),
      this.width,
      this.height,
      x,
      y,
      width,
      height,
    );
  }
}
