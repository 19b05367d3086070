// The motion of a face: states and a basis, or quantised vertices, fetched piece by piece; old pieces are dropped.

import { array, binary } from "./api.js";
import { openAvatar } from "./splats.js";

const KEPT = 24; // pieces of up to 1 MiB each

/** The constant parts of a face: its mesh, and the map from states to vertices. */
export async function openFace(about) {
  const [rest, basis, faces, colours, follow, look] = await Promise.all([
    array(about.rest, Float32Array),
    array(about.basis, Float32Array),
    array(about.faces, Uint32Array),
    array(about.colours, Uint8Array),
    array(about.follow, Float32Array),
    about.look && openLook(about.look),
  ]);
  return { rest, basis, faces, colours, follow, look, millimetres: about.mm_per_unit };
}

/** The texture, decoded, and the parts of a mesh. */
async function openLook(about) {
  const jpeg = new Blob([await array(about.texture, Uint8Array)], { type: "image/jpeg" });
  const parts = about.parts.map(async (part) => ({
    ...part,
    uv: await array(part.uv, Float32Array),
    vertices: await array(part.vertices, Uint32Array),
    faces: await array(part.faces, Uint32Array),
  }));
  return { image: await createImageBitmap(jpeg), parts: await Promise.all(parts) };
}

/** vertices = rest + row · basis, or rest + step · row without a basis; written to `out`. */
export function decode(face, row, step, out) {
  const { rest, basis } = face;
  if (basis === null) {
    for (let i = 0; i < out.length; i++) out[i] = rest[i] + step * row[i];
    return;
  }
  out.set(rest);
  for (let k = 0; k < row.length; k++) {
    const weight = row[k];
    const start = k * out.length;
    for (let i = 0; i < out.length; i++) out[i] += weight * basis[start + i];
  }
}

/** Rotate and translate vertices by [R | t], 12 numbers row by row; each takes its share in `follow`, or all of it. */
export function turn(rigid, follow, out) {
  const [a, b, c, x, d, e, f, y, g, h, i, z] = rigid;
  for (let v = 0; v < out.length; v += 3) {
    const [p, q, r] = [out[v], out[v + 1], out[v + 2]];
    const share = follow ? follow[v / 3] : 1;
    out[v] += share * (a * p + b * q + c * r + x - p);
    out[v + 1] += share * (d * p + e * q + f * r + y - q);
    out[v + 2] += share * (g * p + h * q + i * r + z - r);
  }
}

/** A motion stored on the server. */
export class Motion {
  constructor(clip, number, about, face) {
    Object.assign(this, { clip, number, face });
    this.name = about.name;
    this.fps = about.fps;
    this.frames = about.frames;
    this.columns = about.columns;
    this.perPiece = about.piece;
    this.hasOpening = about.has_opening;
    this.avatar = null;
    this.pieces = new Map();
  }

  static async open(clip, number, about) {
    const motion = new Motion(clip, number, about, await openFace(about));
    if (about.avatar) motion.avatar = await openAvatar(about.avatar);
    return motion;
  }

  /** The frame nearest to a time: frame t shows the time t / fps. */
  frameAt(seconds) {
    return Math.max(0, Math.min(this.frames - 1, Math.round(seconds * this.fps)));
  }

  /** Fetch the piece that contains a frame; resolves when it has arrived. */
  load(frame) {
    const number = Math.floor(frame / this.perPiece);
    let piece = this.pieces.get(number);
    if (piece === undefined) {
      piece = { rows: null, step: 1 };
      piece.here = binary(`clips/${this.clip}/${this.number}/rows/${number}`).then((buffer) => {
        const quantised = this.face.basis === null;
        piece.step = quantised ? new Float32Array(buffer, 0, 1)[0] : 1;
        piece.rows = quantised ? new Int16Array(buffer, 4) : new Float32Array(buffer);
      });
      piece.here.catch(() => this.pieces.delete(number));
      this.pieces.set(number, piece);
      for (const old of this.pieces.keys()) {
        if (this.pieces.size <= KEPT) break;
        if (old !== number) this.pieces.delete(old); // the oldest one
      }
    }
    return piece.here;
  }

  has(frame) {
    return Boolean(this.pieces.get(Math.floor(frame / this.perPiece))?.rows);
  }

  /** Write the vertices of a loaded frame to `out`. */
  vertices(frame, out) {
    const number = Math.floor(frame / this.perPiece);
    const piece = this.pieces.get(number);
    const start = (frame - number * this.perPiece) * this.columns;
    decode(this.face, piece.rows.subarray(start, start + this.columns), piece.step, out);
  }

  /** Fetch the next piece after this frame's in advance. */
  ahead(frame) {
    const later = frame + this.perPiece;
    if (later < this.frames && !this.has(later)) this.load(later).catch(() => {});
  }

  /** Lip opening in mm per frame; null if the mesh has no lip pairs. */
  async opening() {
    if (!this.hasOpening) return null;
    return new Float32Array(await binary(`clips/${this.clip}/${this.number}/opening`));
  }
}
