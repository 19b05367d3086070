// Timeline of the clip: sound, phonemes, lip opening. Dragging seeks; for the keyboard there is the slider.

const ROWS = { wave: 0.34, phonemes: 0.2, lips: 0.46 }; // shares of the height
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const BILABIAL = new Set(["P", "B", "M"]);

export class Timeline {
  constructor(canvas, head, player) {
    Object.assign(this, { canvas, head, player });
    this.clip = null;
    const seek = (event) => {
      const box = canvas.getBoundingClientRect();
      player.seek(((event.clientX - box.left) / box.width) * player.duration);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && seek(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** `clip`: seconds and phonemes; `peaks`: pairs in -1…1; `openings`: {fps, mm, colour} per motion, mm may be null. */
  show(clip, peaks, openings) {
    Object.assign(this, { clip, peaks, openings });
    this.draw();
  }

  /** Move the playback line to a time. */
  moveTo(seconds) {
    const share = this.clip ? seconds / this.clip.seconds : 0;
    this.head.style.transform = `translateX(${share * this.canvas.clientWidth}px)`;
  }

  draw() {
    const { canvas, clip } = this;
    if (!clip) return;
    const ratio = window.devicePixelRatio;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colour = (name) => {
      canvas.style.color = `var(${name})`; // computed, to resolve the colour of the theme
      return getComputedStyle(canvas).color;
    };
    const at = (seconds) => (seconds / clip.seconds) * width;
    const ends = { wave: ROWS.wave * height, phonemes: (ROWS.wave + ROWS.phonemes) * height };

    for (const [start, end, name] of clip.phonemes) {
      if (!BILABIAL.has(name)) continue;
      pen.fillStyle = colour("--band");
      pen.fillRect(at(start), 0, at(end) - at(start), height);
    }
    this.drawWave(pen, width, ends.wave, colour("--wave"));
    this.drawPhonemes(pen, at, ends, colour);
    this.drawLips(pen, at, ends.phonemes + 4, height - 4, colour);
    this.moveTo(this.player.time);
  }

  drawWave(pen, width, height, colour) {
    const { peaks } = this;
    const count = peaks.length / 2;
    let loudest = 0.05;
    for (const peak of peaks) loudest = Math.max(loudest, Math.abs(peak));
    pen.fillStyle = colour;
    for (let i = 0; i < count; i++) {
      const top = (0.5 - (0.48 * peaks[2 * i + 1]) / loudest) * height;
      const bottom = (0.5 - (0.48 * peaks[2 * i]) / loudest) * height;
      pen.fillRect((i / count) * width, top, Math.max(1, width / count), Math.max(1, bottom - top));
    }
  }

  drawPhonemes(pen, at, ends, colour) {
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (const [start, end, name] of this.clip.phonemes) {
      pen.fillStyle = colour("--line");
      pen.fillRect(at(start), ends.wave + 2, 1, ends.phonemes - ends.wave - 4);
      if (at(end) - at(start) < pen.measureText(name).width) continue;
      pen.fillStyle = colour("--ink");
      pen.fillText(name.toLowerCase(), (at(start) + at(end)) / 2, (ends.wave + ends.phonemes) / 2);
    }
  }

  drawLips(pen, at, top, bottom, colour) {
    const shown = this.openings.filter((one) => one.mm !== null);
    if (!shown.length) return;
    let least = 0, most = 1;
    for (const { mm } of shown) for (const value of mm) [least, most] = [Math.min(least, value), Math.max(most, value)];
    const y = (mm) => bottom - ((mm - least) / (most - least)) * (bottom - top);
    pen.fillStyle = colour("--line");
    pen.fillRect(0, y(0), pen.canvas.width, 1);
    this.openings.forEach(({ fps, mm, colour: name }, i) => {
      if (mm === null) return;
      pen.strokeStyle = colour(name);
      pen.lineWidth = 1.8;
      pen.setLineDash(DASHES[i % DASHES.length]);
      pen.beginPath();
      const step = Math.max(1, Math.floor(mm.length / 4000));
      for (let t = 0; t < mm.length; t += step) pen.lineTo(at(t / fps), y(mm[t]));
      pen.stroke();
    });
    pen.setLineDash([]);
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.fillStyle = colour("--faint");
    pen.fillText(`lip opening, up to ${most.toFixed(1)} mm`, 4, top - 2);
  }
}
