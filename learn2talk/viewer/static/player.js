// The sound is the clock: everything shown takes its time from it, so faces cannot drift from the sound.

export class Player extends EventTarget {
  constructor(audio) {
    super();
    this.audio = audio;
    for (const name of ["play", "pause", "ended", "seeked", "ratechange", "loadedmetadata"]) {
      audio.addEventListener(name, () => this.dispatchEvent(new Event("change")));
    }
    audio.addEventListener("play", () => this.tick());
    audio.addEventListener("seeking", () => this.dispatchEvent(new Event("time")));
  }

  /** Open another sound at its start; resolves when seeking is possible. */
  open(address) {
    this.audio.pause();
    return new Promise((resolve, reject) => {
      this.audio.onloadedmetadata = resolve;
      this.audio.onerror = () => reject(new Error("The sound cannot be played."));
      this.audio.src = address;
      this.audio.load();
    });
  }

  get time() {
    return this.audio.currentTime;
  }

  get duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : 0;
  }

  /** Playback speed, 1 is normal; sounds opened later keep it. */
  set speed(factor) {
    this.audio.defaultPlaybackRate = this.audio.playbackRate = factor;
  }

  get playing() {
    return !this.audio.paused && !this.audio.ended;
  }

  seek(seconds) {
    this.audio.currentTime = Math.max(0, Math.min(this.duration, seconds));
  }

  play() {
    if (this.audio.ended) this.seek(0);
    return this.audio.play();
  }

  tick() {
    this.dispatchEvent(new Event("time"));
    if (this.playing) requestAnimationFrame(() => this.tick());
  }
}
