// A worker that sorts splats from back to front along a direction. First message: what the splats are bound to; then one
// for each order that is wanted.

const BINS = 1 << 16;
let bound = null;

/** Depth of each splat's centre along `direction`: that of its triangle's centroid, plus its place in the triangle's
 * frame (avatar/binding.py). */
function depths({ triangles, local, faces }, p, direction) {
  const [dx, dy, dz] = direction;
  const frames = new Float32Array((faces.length / 3) * 4); // depth of the origin, and size times the axes' depths
  for (let f = 0; f < faces.length / 3; f++) {
    const a = 3 * faces[3 * f], b = 3 * faces[3 * f + 1], c = 3 * faces[3 * f + 2];
    let ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
    const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
    const edge = Math.hypot(ux, uy, uz) || 1e-12;
    ux /= edge; uy /= edge; uz /= edge;
    let nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    const length = Math.hypot(nx, ny, nz) || 1e-12;
    nx /= length; ny /= length; nz /= length;
    const wx = uy * nz - uz * ny, wy = uz * nx - ux * nz, wz = ux * ny - uy * nx;
    const size = (edge + Math.abs(vx * wx + vy * wy + vz * wz)) / 2;
    frames[4 * f] =
      ((p[a] + p[b] + p[c]) * dx + (p[a + 1] + p[b + 1] + p[c + 1]) * dy + (p[a + 2] + p[b + 2] + p[c + 2]) * dz) / 3;
    frames[4 * f + 1] = size * (ux * dx + uy * dy + uz * dz);
    frames[4 * f + 2] = size * (nx * dx + ny * dy + nz * dz);
    frames[4 * f + 3] = size * (wx * dx + wy * dy + wz * dz);
  }
  const found = new Float32Array(triangles.length);
  for (let n = 0; n < found.length; n++) {
    const f = 4 * triangles[n], l = 3 * n;
    found[n] = frames[f] + frames[f + 1] * local[l] + frames[f + 2] * local[l + 1] + frames[f + 3] * local[l + 2];
  }
  return found;
}

/** Numbers of the splats, the farthest first: a counting sort. */
function order(depth) {
  let low = Infinity, high = -Infinity;
  for (const value of depth) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const scale = (BINS - 1) / (high - low || 1);
  const starts = new Uint32Array(BINS + 1);
  const bin = Uint32Array.from(depth, (value) => Math.floor((high - value) * scale));
  for (const own of bin) starts[own + 1]++;
  for (let i = 0; i < BINS; i++) starts[i + 1] += starts[i];
  const sorted = new Uint32Array(depth.length);
  for (let n = 0; n < bin.length; n++) sorted[starts[bin[n]]++] = n;
  return sorted;
}

onmessage = ({ data }) => {
  if (data.triangles) {
    bound = data;
    return;
  }
  const sorted = order(depths(bound, data.positions, data.direction));
  postMessage(sorted, [sorted.buffer]);
};
