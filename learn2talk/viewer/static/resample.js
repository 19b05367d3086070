// Streaming resampler from any sample rate to 16 kHz: Hann-windowed sinc with its cut-off below the lower Nyquist
// frequency. Without browser interfaces, so that both the audio thread and the tests can use it.

export const RATE = 16000;
const ZEROS = 16; // zero crossings of the sinc on either side

export class Resampler {
  constructor(rate) {
    this.step = rate / RATE; // input samples per output sample
    this.cut = 0.95 * Math.min(1, 1 / this.step);
    this.reach = Math.ceil(ZEROS / this.cut);
    this.held = new Float32Array(this.reach); // silence before the start
    this.first = -this.reach; // index of the first input sample in `held`
    this.made = 0;
  }

  /** Feed input samples; returns the output samples that no later input can change. */
  feed(input) {
    const held = new Float32Array(this.held.length + input.length);
    held.set(this.held);
    held.set(input, this.held.length);
    const known = this.first + held.length;
    const count = Math.max(0, Math.ceil((known - this.reach) / this.step) - this.made);
    const output = new Float32Array(count);
    for (let n = 0; n < count; n++) output[n] = this.at((this.made + n) * this.step, held);
    this.made += count;
    const kept = Math.max(0, Math.floor(this.made * this.step) - this.reach - this.first);
    this.held = held.slice(kept);
    this.first += kept;
    return output;
  }

  at(place, held) {
    const middle = Math.floor(place);
    let sum = 0;
    let weights = 0; // sum of the weights, to keep unit gain for a constant
    for (let k = middle - this.reach + 1; k <= middle + this.reach; k++) {
      const x = (k - place) * this.cut;
      if (Math.abs(x) >= ZEROS) continue;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      const weight = sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / ZEROS));
      sum += weight * (held[k - this.first] ?? 0);
      weights += weight;
    }
    return sum / weights;
  }
}
