// Draws faces side by side: one canvas behind all panes, with one camera for all.

import {
  BufferAttribute, BufferGeometry, DirectionalLight, DoubleSide, FrontSide, Group, HemisphereLight, Mesh,
  MeshBasicMaterial, MeshLambertMaterial, MeshPhysicalMaterial, OrbitControls, PerspectiveCamera, SRGBColorSpace, Scene,
  Texture, Vector3, WebGLRenderer,
} from "./three.min.js";
import { LINEAR, errors, paint } from "./colours.js";
import { SplatHead } from "./splats.js";

const VIEW = 22; // degrees
const FITS = 1.02; // height of the face relative to its pane

const SKIN = { sheen: 0.3, sheenRoughness: 0.5, sheenColor: 0xffd2c2, specularIntensity: 0.55 };
const BEHIND_WIRES = { polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 };

/** Skin material; nearly white parts (teeth, eyes) are glossy. */
function skin() {
  const material = new MeshPhysicalMaterial({ vertexColors: true, roughness: 0.56, ...SKIN, ...BEHIND_WIRES });
  material.onBeforeCompile = (shader) => {
    shader.fragmentShader = shader.fragmentShader.replace(
      "#include <roughnessmap_fragment>",
      `float whiteness = min(vColor.r, min(vColor.g, vColor.b));
       float roughnessFactor = mix(roughness, 0.16, smoothstep(0.55, 0.75, whiteness));`,
    );
  };
  return material;
}

/** A mesh and a material for each part of a textured face; they follow the vertices and normals of the whole mesh. */
class Parts {
  constructor({ image, parts }) {
    this.texture = new Texture(image);
    Object.assign(this.texture, { colorSpace: SRGBColorSpace, flipY: false, anisotropy: 4, needsUpdate: true });
    this.group = new Group();
    this.parts = parts.map(({ name, roughness, two_sided, uv, vertices, faces }) => {
      const geometry = new BufferGeometry();
      geometry.setIndex(new BufferAttribute(faces, 1));
      geometry.setAttribute("uv", new BufferAttribute(uv, 2));
      for (const key of ["position", "normal"]) {
        geometry.setAttribute(key, new BufferAttribute(new Float32Array(3 * vertices.length), 3));
      }
      const material = new MeshPhysicalMaterial({ map: this.texture, roughness, ...BEHIND_WIRES, ...(name === "skin" && SKIN) });
      material.side = two_sided ? DoubleSide : FrontSide;
      const mesh = new Mesh(geometry, material);
      mesh.name = name;
      mesh.frustumCulled = false;
      this.group.add(mesh);
      return { geometry, material, vertices };
    });
  }

  moveTo(whole) {
    for (const { geometry, vertices } of this.parts) {
      for (const key of ["position", "normal"]) {
        const from = whole.attributes[key].array;
        const { array } = geometry.attributes[key];
        for (let i = 0; i < vertices.length; i++) {
          const v = 3 * vertices[i];
          array[3 * i] = from[v]; array[3 * i + 1] = from[v + 1]; array[3 * i + 2] = from[v + 2];
        }
        geometry.attributes[key].needsUpdate = true;
      }
    }
  }

  dispose() {
    for (const { geometry, material } of this.parts) [geometry, material].forEach((one) => one.dispose());
    this.texture.dispose();
  }
}

/** A pane: its element on the page, and the face in it. */
class Pane {
  constructor(element, motion, materials) {
    this.element = element;
    this.motion = motion;
    this.frame = -1;
    const { face } = motion;
    this.positions = new Float32Array(face.rest.length);
    this.errors = new Float32Array(face.rest.length / 3);
    this.albedo = Float32Array.from(face.colours, (byte) => LINEAR[byte]);
    this.geometry = new BufferGeometry();
    this.geometry.setIndex(new BufferAttribute(face.faces, 1));
    this.geometry.setAttribute("position", new BufferAttribute(this.positions, 3));
    this.geometry.setAttribute("normal", new BufferAttribute(new Float32Array(face.rest.length), 3));
    this.geometry.setAttribute("color", new BufferAttribute(this.albedo.slice(), 3));
    this.surface = new Mesh(this.geometry, materials.skin);
    this.wires = new Mesh(this.geometry, materials.wires);
    this.surface.frustumCulled = this.wires.frustumCulled = false; // the bounding box does not follow the vertices
    this.group = new Group().add(this.surface, this.wires);
    this.parts = face.look && new Parts(face.look);
    if (this.parts) this.group.add(this.parts.group);
    this.group.scale.setScalar(face.millimetres / 100); // to decimetres, from the corpus's unit
  }

  /** Set the face to a loaded frame. */
  moveTo(frame) {
    if (frame === this.frame) return;
    this.motion.vertices(frame, this.positions);
    this.frame = frame;
    this.element.dataset.frame = frame;
    this.geometry.attributes.position.needsUpdate = true;
    smooth(this.geometry);
    this.parts?.moveTo(this.geometry);
  }

  /** Show it with its own colours or texture, or with `heat`, the material of errors. */
  wear(skin, heat) {
    this.surface.material = heat ?? skin;
    this.surface.visible = !this.parts || heat !== null;
    if (this.parts) this.parts.group.visible = heat === null;
  }

  /** Colour it by its distance from another pane's face, 0…`most` mm; null restores its own colours. */
  compare(other, most) {
    const colours = this.geometry.attributes.color;
    this.compared = other !== null;
    if (other === null) colours.array.set(this.albedo);
    else {
      errors(this.positions, other.positions, this.motion.face.millimetres, this.errors);
      paint(this.errors, most, colours.array);
    }
    colours.needsUpdate = true;
  }

  dispose() {
    this.geometry.dispose();
    this.parts?.dispose();
    this.splats?.dispose();
  }
}

/** A pane that shows the motion's splat avatar; its mesh, which the splats follow, is invisible. */
class SplatPane extends Pane {
  constructor(element, motion, materials, renderer, redraw) {
    super(element, motion, materials);
    this.splats = new SplatHead(renderer, motion.avatar, motion.face, redraw);
    element.dataset.splats = motion.avatar.count;
  }

  moveTo(frame) {
    if (frame === this.frame) return;
    super.moveTo(frame);
    this.splats.moveTo(this.positions);
  }
}

/** Vertex normals: area-weighted sum of the normals of the adjacent triangles, of unit length. */
function smooth(geometry) {
  const p = geometry.attributes.position.array;
  const n = geometry.attributes.normal.array.fill(0);
  const corners = geometry.index.array;
  for (let f = 0; f < corners.length; f += 3) {
    const a = 3 * corners[f], b = 3 * corners[f + 1], c = 3 * corners[f + 2];
    const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
    const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    n[a] += x; n[a + 1] += y; n[a + 2] += z;
    n[b] += x; n[b + 1] += y; n[b + 2] += z;
    n[c] += x; n[c + 1] += y; n[c + 2] += z;
  }
  for (let v = 0; v < n.length; v += 3) {
    const length = Math.hypot(n[v], n[v + 1], n[v + 2]) || 1;
    n[v] /= length; n[v + 1] /= length; n[v + 2] /= length;
  }
  geometry.attributes.normal.needsUpdate = true;
}

export class Stage {
  /** `host` contains the canvas and, above it, the panes; `failed` is called when a motion cannot be loaded. */
  constructor(canvas, host, failed) {
    this.failed = failed;
    this.canvas = canvas;
    this.host = host;
    this.panes = [];
    try {
      this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    } catch {
      const fix = "Turn on hardware acceleration, or use another browser.";
      throw new Error(`This browser cannot draw in 3D: WebGL 2 is needed. ${fix}`);
    }
    this.renderer.setScissorTest(true);
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(VIEW, 1, 0.1, 200);
    const key = new DirectionalLight(0xfff6ee, 2.2);
    const fill = new DirectionalLight(0xdfe9ff, 0.7);
    key.position.set(2.5, 4, 6);
    fill.position.set(-5, 0.5, 3);
    this.camera.add(key, fill, new HemisphereLight(0xffffff, 0xa8948a, 1.2)); // lamps move with the camera
    this.camera.add(key.target, fill.target);
    this.scene.add(this.camera);
    this.materials = {
      skin: skin(),
      heat: new MeshLambertMaterial({ vertexColors: true, ...BEHIND_WIRES }),
      wires: new MeshBasicMaterial({ color: 0x20303f, wireframe: true, transparent: true, opacity: 0.35 }),
    };
    this.controls = new OrbitControls(this.camera, host);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => this.draw());
    this.seen = { heat: false, wires: false, most: 5, against: 0 };
    new ResizeObserver(() => this.draw()).observe(host);
  }

  /** Show other faces; each pane is [element, motion], and true for the motion's splat avatar instead of its mesh. */
  show(panes) {
    for (const pane of this.panes) {
      this.scene.remove(pane.group);
      pane.dispose();
    }
    this.panes = panes.map(([element, motion, splats]) =>
      splats
        ? new SplatPane(element, motion, this.materials, this.renderer, () => this.draw())
        : new Pane(element, motion, this.materials),
    );
    for (const pane of this.panes) this.scene.add(pane.group);
    this.box = null;
    this.look({});
  }

  /** Show the frame of this time in all panes, once it is loaded for all of them. */
  moveTo(seconds) {
    this.wanted = seconds;
    const panes = this.panes;
    const frames = panes.map((pane) => pane.motion.frameAt(seconds));
    const late = panes.filter((pane, i) => !pane.motion.has(frames[i]));
    if (late.length) {
      const loads = panes.map((pane, i) => pane.motion.load(frames[i]));
      Promise.all(loads).then(
        () => panes === this.panes && this.wanted === seconds && this.moveTo(seconds),
        (error) => panes === this.panes && this.failed(error),
      );
      return;
    }
    panes.forEach((pane, i) => pane.motion.ahead(frames[i]));
    if (frames.every((frame, i) => frame === panes[i].frame)) return;
    panes.forEach((pane, i) => pane.moveTo(frames[i]));
    if (!this.box) this.away ? this.follow() : this.face();
    this.colour();
    this.draw();
  }

  /** Change the view: `heat` map, `wires`, `most` mm of the scale, the pane `against` which errors are measured. */
  look(changes) {
    Object.assign(this.seen, changes);
    for (const pane of this.panes) {
      pane.wear(this.materials.skin, this.seen.heat ? this.materials.heat : null);
      pane.wires.visible = this.seen.wires;
    }
    this.colour();
    this.draw();
  }

  colour() {
    const other = this.panes[this.seen.against] ?? null;
    if (!this.seen.heat && !this.coloured) return;
    for (const pane of this.panes) {
      const same = other && other.positions.length === pane.positions.length;
      pane.compare(this.seen.heat && same ? other : null, this.seen.most);
    }
    this.coloured = this.seen.heat;
  }

  /** Centre of the face, and the distance at which it fills a pane; of the first frame shown, so the view is fixed. */
  frame() {
    const [pane] = this.panes;
    if (!this.box) {
      pane.geometry.computeBoundingBox();
      this.box = pane.geometry.boundingBox.clone();
    }
    const scale = pane.group.scale.x;
    const size = this.box.getSize(new Vector3()).multiplyScalar(scale);
    const { width, height } = pane.element.getBoundingClientRect();
    const tall = Math.max(size.y, (size.x * height) / Math.max(1, width)) / FITS;
    const away = tall / 2 / Math.tan((VIEW * Math.PI) / 360) + size.z / 2;
    return { middle: this.box.getCenter(new Vector3()).multiplyScalar(scale), away };
  }

  /** Look at the faces from the front. */
  face() {
    if (!(this.panes[0]?.frame >= 0)) return;
    const { middle, away } = this.frame();
    this.camera.position.set(middle.x, middle.y, middle.z + away);
    this.aim(middle, away);
  }

  /** Look at new faces from the camera's current direction and relative distance. */
  follow() {
    const { middle, away } = this.frame();
    this.camera.position.sub(this.controls.target).multiplyScalar(away / this.away).add(middle);
    this.aim(middle, away);
  }

  aim(middle, away) {
    this.away = away;
    this.controls.target.copy(middle);
    this.controls.minDistance = away / 6;
    this.controls.maxDistance = away * 4;
    this.controls.update();
    this.draw();
  }

  /** Turn the camera around the face by angles in radians, and move it nearer by a factor. */
  orbit(across, up, nearer = 1) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const length = offset.length() / nearer;
    const turn = Math.atan2(offset.x, offset.z) + across;
    const rise = Math.max(-1.4, Math.min(1.4, Math.asin(offset.y / offset.length()) + up));
    offset.set(Math.cos(rise) * Math.sin(turn), Math.sin(rise), Math.cos(rise) * Math.cos(turn)).multiplyScalar(length);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
  }

  /** Draw once, at the next animation frame. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { renderer, canvas, host } = this;
    const whole = host.getBoundingClientRect();
    const ratio = Math.min(2, window.devicePixelRatio);
    const width = Math.round(whole.width * ratio), height = Math.round(whole.height * ratio);
    if (canvas.width !== width || canvas.height !== height) renderer.setSize(whole.width, whole.height, false);
    renderer.setPixelRatio(ratio);
    renderer.setScissor(0, 0, whole.width, whole.height);
    renderer.clear();
    for (const pane of this.panes) {
      if (pane.frame < 0) continue;
      const box = pane.element.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const left = box.left - whole.left, bottom = whole.bottom - box.bottom;
      this.camera.aspect = box.width / box.height;
      this.camera.updateProjectionMatrix();
      renderer.setViewport(left, bottom, box.width, box.height);
      renderer.setScissor(left, bottom, box.width, box.height);
      if (pane.splats) {
        const part = { left, bottom, width: box.width, height: box.height };
        for (const key of Object.keys(part)) part[key] = Math.round(part[key] * ratio);
        pane.splats.draw(part, this.camera, pane.group.scale.x);
        continue;
      }
      for (const other of this.panes) other.group.visible = other === pane;
      renderer.render(this.scene, this.camera);
    }
  }
}
