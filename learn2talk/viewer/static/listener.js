// Audio thread: mixes the channels to mono at 16 kHz and posts pieces of 0.1 s with the start time of the sound.

import { RATE, Resampler } from "./resample.js";

const PIECE = RATE / 10;

class Listener extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate);
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.start = null; // time of the first sample, on the context's clock
  }

  process([channels]) {
    if (!channels?.length) {
      this.hand(this.filled); // the source has ended
      return true;
    }
    this.start ??= currentTime;
    const mean = new Float32Array(channels[0].length);
    for (const channel of channels) {
      for (let i = 0; i < mean.length; i++) mean[i] += channel[i] / channels.length;
    }
    for (const sample of this.resampler.feed(mean)) {
      this.piece[this.filled++] = Math.round(32767 * Math.max(-1, Math.min(1, sample)));
      if (this.filled === PIECE) this.hand(PIECE);
    }
    return true;
  }

  hand(count) {
    if (count === 0) return;
    this.port.postMessage({ start: this.start, samples: this.piece.slice(0, count) });
    this.filled = 0;
  }
}

registerProcessor("listener", Listener);
