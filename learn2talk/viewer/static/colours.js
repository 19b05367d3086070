// Colour map for errors: ColorBrewer's YlOrRd (Brewer, Harrower 2003), in 256 steps as in Matplotlib.

const ANCHORS = [
  [255, 255, 204], [255, 237, 160], [254, 217, 118], [254, 178, 76], [253, 141, 60],
  [252, 78, 42], [227, 26, 28], [189, 0, 38], [128, 0, 38],
];
const STEPS = 256;

const table = Array.from({ length: STEPS }, (_, step) => {
  const place = (step / (STEPS - 1)) * (ANCHORS.length - 1);
  const below = Math.min(Math.floor(place), ANCHORS.length - 2);
  return ANCHORS[below].map((low, k) => Math.round(low + (place - below) * (ANCHORS[below + 1][k] - low)));
});

/** [red, green, blue] in 0…255 at a position 0…1 on the scale. */
export const heat = (share) => table[Math.max(0, Math.min(STEPS - 1, Math.floor(share * STEPS)))];

/** CSS gradient for the colour bar. */
export const gradient = () => `linear-gradient(to right, ${ANCHORS.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;

/** sRGB byte to linear light (IEC 61966-2-1), in which the renderer computes. */
export const LINEAR = Float32Array.from({ length: 256 }, (_, byte) => {
  const value = byte / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
});

/** Per-vertex distance in mm between two faces (3 V numbers each), written to `out` (V). */
export function errors(found, truth, millimetres, out) {
  for (let v = 0; v < out.length; v++) {
    const x = found[3 * v] - truth[3 * v];
    const y = found[3 * v + 1] - truth[3 * v + 1];
    const z = found[3 * v + 2] - truth[3 * v + 2];
    out[v] = millimetres * Math.sqrt(x * x + y * y + z * z);
  }
}

/** Write the colours of errors of 0…`most` mm to `out` (3 V), as linear light. */
export function paint(mm, most, out) {
  for (let v = 0; v < mm.length; v++) {
    const colour = heat(mm[v] / most);
    for (let k = 0; k < 3; k++) out[3 * v + k] = LINEAR[colour[k]];
  }
}
