// A splat avatar in a pane: splats follow the triangles of a moving mesh in the vertex shader, and are drawn from back
// to front in an order that a worker finds. The mathematics is that of learn2talk_core/render/splats.py and
// avatar/binding.py; spherical harmonics are used up to degree 1.

import { array } from "./api.js";

const WIDE = 1024; // texels in a row of a texture
const TEXELS = 6; // per splat: place + triangle, rotation, scale + opacity, three of colour

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
uniform highp sampler2D points;   // vertices of the mesh
uniform highp usampler2D corners; // of the triangles
uniform highp sampler2D splats;
uniform mat4 toCamera, toClip;    // mesh → camera axes, camera axes → clip space
uniform vec3 eye;                 // in the space of the mesh
uniform vec2 pixels;              // size of the pane
uniform bool local;               // spherical harmonics in the axes of the triangle, not of the mesh
in uint number;
out vec2 from;
out vec4 shown;
flat out vec3 inverse;
flat out float reach;

vec3 point(uint n) { return texelFetch(points, ivec2(n % ${WIDE}u, n / ${WIDE}u), 0).xyz; }
vec4 texel(uint n) { return texelFetch(splats, ivec2(n % ${WIDE}u, n / ${WIDE}u), 0); }

mat3 turn(vec4 q) { // w x y z
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1. - 2. * (y * y + z * z), 2. * (x * y + w * z), 2. * (x * z - w * y),
              2. * (x * y - w * z), 1. - 2. * (x * x + z * z), 2. * (y * z + w * x),
              2. * (x * z + w * y), 2. * (y * z - w * x), 1. - 2. * (x * x + y * y));
}

void main() {
  uint first = number * ${TEXELS}u;
  vec4 place = texel(first), scale = texel(first + 2u);
  uint triangle = uint(place.w + 0.5);
  uvec3 corner = texelFetch(corners, ivec2(triangle % ${WIDE}u, triangle / ${WIDE}u), 0).xyz;
  vec3 a = point(corner.x), b = point(corner.y), c = point(corner.z);
  vec3 x = normalize(b - a), y = normalize(cross(x, c - a)), z = cross(x, y);
  mat3 frame = mat3(x, y, z);
  float size = 0.5 * (length(b - a) + abs(dot(c - a, z)));
  vec3 middle = size * (frame * place.xyz) + (a + b + c) / 3.;
  vec4 seen = toCamera * vec4(middle, 1.);
  vec4 clip = toClip * seen;
  gl_Position = vec4(2., 2., 2., 1.); // nowhere
  if (seen.z > -0.01) return;

  vec2 focal = 0.5 * pixels * vec2(toClip[0][0], toClip[1][1]);
  float far = -seen.z;
  vec3 row0 = vec3(focal.x / far, 0., focal.x * seen.x / (far * far)); // of the Jacobian; y up
  vec3 row1 = vec3(0., focal.y / far, focal.y * seen.y / (far * far));
  mat3 axes = mat3(toCamera) * frame * turn(texel(first + 1u));
  vec3 spread = size * scale.xyz;
  vec3 u = (row0 * axes) * spread, v = (row1 * axes) * spread;
  float xx = dot(u, u) + 0.3, xy = dot(u, v), yy = dot(v, v) + 0.3;
  float area = xx * yy - xy * xy;
  if (area <= 0. || scale.w * 255. <= 1.) return;
  reach = min(9., 2. * log(255. * scale.w));
  inverse = vec3(yy, -xy, xx) / area;
  vec2 corner2 = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2. - 1.;
  from = corner2 * sqrt(reach * vec2(xx, yy));
  gl_Position = vec4(clip.xy / clip.w + 2. * from / pixels, clip.z / clip.w, 1.);

  vec3 d = normalize(middle - eye);
  if (local) d = transpose(frame) * d;
  vec4 c0 = texel(first + 3u), c1 = texel(first + 4u), c2 = texel(first + 5u);
  vec3 base = c0.xyz, minus = vec3(c0.w, c1.xy), zero = vec3(c1.zw, c2.x), plus = c2.yzw;
  vec3 colour = 0.5 + 0.28209479 * base + 0.48860251 * (d.z * zero - d.y * minus - d.x * plus);
  shown = vec4(max(colour, 0.), scale.w);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 from;
in vec4 shown;
flat in vec3 inverse;
flat in float reach;
out vec4 result;
void main() {
  float q = inverse.x * from.x * from.x + 2. * inverse.y * from.x * from.y + inverse.z * from.y * from.y;
  if (q > reach) discard;
  float alpha = min(0.99, shown.a * exp(-0.5 * q));
  result = vec4(min(shown.rgb, 1.) * alpha, alpha);
}`;

/** What does not move: splats in the frames of their triangles, and the avatar's face minus the motion's face at rest. */
export async function openAvatar(about) {
  const [splats, change] = await Promise.all([array(about.splats, Float32Array), array(about.change, Float32Array)]);
  return { splats, change, count: about.count, local: about.local };
}

/** Draws one avatar with the WebGL context that the other panes use. */
export class SplatHead {
  /** `avatar` from `openAvatar`; `face` is the face of the motion; `redraw` is called when a new order has arrived. */
  constructor(renderer, avatar, face, redraw) {
    this.renderer = renderer;
    this.gl = renderer.getContext();
    this.avatar = avatar;
    this.vertices = face.rest.length / 3;
    const gl = this.gl;
    this.program = linked(gl, VERTEX, FRAGMENT);
    this.places = Object.fromEntries(
      ["points", "corners", "splats", "toCamera", "toClip", "eye", "pixels", "local"].map((name) => [
        name, gl.getUniformLocation(this.program, name),
      ]),
    );
    this.points = texture(gl, gl.RGB32F, gl.RGB, gl.FLOAT, 3, new Float32Array(face.rest.length));
    this.corners = texture(gl, gl.RGB32UI, gl.RGB_INTEGER, gl.UNSIGNED_INT, 3, Uint32Array.from(face.faces));
    this.splats = texture(gl, gl.RGBA32F, gl.RGBA, gl.FLOAT, 4, avatar.splats);
    this.order = gl.createBuffer();
    this.state = gl.createVertexArray();
    gl.bindVertexArray(this.state);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.bufferData(gl.ARRAY_BUFFER, 4 * avatar.count, gl.DYNAMIC_DRAW);
    const number = gl.getAttribLocation(this.program, "number");
    gl.enableVertexAttribArray(number);
    gl.vertexAttribIPointer(number, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(number, 1);
    gl.bindVertexArray(null);
    renderer.resetState();
    this.sorted = 0; // splats in the order; none before the worker's first answer
    this.worker = new Worker("sorter.js");
    this.worker.onmessage = ({ data }) => {
      this.arrived = data;
      this.busy = false;
      if (this.next) this.sort(...this.next);
      redraw();
    };
    const triangles = new Uint32Array(avatar.count), local = new Float32Array(3 * avatar.count);
    for (let n = 0; n < avatar.count; n++) {
      const at = 4 * TEXELS * n;
      local.set(avatar.splats.subarray(at, at + 3), 3 * n);
      triangles[n] = avatar.splats[at + 3];
    }
    this.worker.postMessage({ triangles, local, faces: Uint32Array.from(face.faces) });
  }

  /** Move the mesh: the vertices of the motion, to which the avatar's own face is added. */
  moveTo(positions) {
    this.positions = positions.map((value, i) => value + this.avatar.change[i]);
    this.moved = true;
  }

  /** Ask for the order from back to front along a direction in the space of the mesh; one request at a time. */
  sort(positions, direction) {
    this.next = null;
    if (this.busy) {
      this.next = [positions, direction];
      return;
    }
    this.busy = true;
    this.worker.postMessage({ positions, direction });
  }

  /** Draw into a box of the canvas, in device pixels from the bottom left; matrices as three.js has them. */
  draw(box, camera, scale) {
    const { gl } = this;
    if (!this.positions) return;
    camera.updateMatrixWorld();
    const toCamera = camera.matrixWorldInverse.elements.map((value, i) => (i < 12 ? value * scale : value));
    const forward = [-toCamera[2], -toCamera[6], -toCamera[10]];
    const key = `${forward.map((value) => (value / scale).toFixed(3))}`;
    if (this.moved || key !== this.key) this.sort(this.positions, forward);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.state);
    if (this.arrived) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, this.arrived);
      this.sorted = this.arrived.length;
      this.arrived = null;
    }
    if (this.moved) fill(gl, this.points, gl.RGB32F, gl.RGB, gl.FLOAT, 3, this.positions);
    this.moved = false;
    this.key = key;
    [this.points, this.corners, this.splats].forEach((own, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, own);
    });
    gl.uniform1i(this.places.points, 0);
    gl.uniform1i(this.places.corners, 1);
    gl.uniform1i(this.places.splats, 2);
    gl.uniformMatrix4fv(this.places.toCamera, false, toCamera);
    gl.uniformMatrix4fv(this.places.toClip, false, camera.projectionMatrix.elements);
    gl.uniform3f(this.places.eye, ...camera.position.toArray().map((value) => value / scale));
    gl.uniform2f(this.places.pixels, box.width, box.height);
    gl.uniform1i(this.places.local, this.avatar.local);
    gl.viewport(box.left, box.bottom, box.width, box.height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(box.left, box.bottom, box.width, box.height);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.sorted);
    gl.bindVertexArray(null);
    this.renderer.resetState();
    this.renderer.setScissorTest(true);
  }

  dispose() {
    const { gl } = this;
    this.worker.terminate();
    for (const own of [this.points, this.corners, this.splats]) gl.deleteTexture(own);
    gl.deleteBuffer(this.order);
    gl.deleteVertexArray(this.state);
    gl.deleteProgram(this.program);
  }
}

function linked(gl, ...sources) {
  const program = gl.createProgram();
  sources.forEach((source, i) => {
    const shader = gl.createShader(i ? gl.FRAGMENT_SHADER : gl.VERTEX_SHADER);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  });
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

function texture(gl, ...content) {
  const made = gl.createTexture();
  fill(gl, made, ...content);
  return made;
}

/** Fill a texture of `WIDE` texels a row; the last row is padded. */
function fill(gl, target, inner, format, type, channels, values) {
  const rows = Math.max(1, Math.ceil(values.length / channels / WIDE));
  const padded = new values.constructor(rows * WIDE * channels);
  padded.set(values);
  gl.bindTexture(gl.TEXTURE_2D, target);
  gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
  for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
  gl.texImage2D(gl.TEXTURE_2D, 0, inner, WIDE, rows, 0, format, type, padded);
}
