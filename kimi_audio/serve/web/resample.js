/** Stateful conversion between sample rates by a windowed sinc, so that pieces join without clicks. */

const ZERO_CROSSINGS = 16;
const KAISER_BETA = 8; // about 80 dB below the pass band

export class Resampler {
  /**
   * @param {number} fromHz
   * @param {number} toHz
   */
  constructor(fromHz, toHz) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    this.up = toHz / divisor;
    this.down = fromHz / divisor;
    const cutoff = Math.min(1, toHz / fromHz);
    this.half = Math.ceil(ZERO_CROSSINGS / cutoff); // taps on each side
    this.phases = makePhases(this.up, this.half, cutoff);
    this.reset();
  }

  /** Forget what came before. */
  reset() {
    this.kept = new Float32Array(this.half - 1); // the silence before the first sample
    this.position = 0; // of the next output: 1/up samples after the first sample that is not kept
  }

  /**
   * Return the output that is known by now; it lags behind the input by the filter's half.
   * @param {Float32Array} input
   * @returns {Float32Array}
   */
  process(input) {
    if (this.up === this.down) return input.slice();
    const samples = new Float32Array(this.kept.length + input.length);
    samples.set(this.kept);
    samples.set(input, this.kept.length);
    const { up, down, half } = this;
    const last = samples.length - 2 * half; // the last place at which the filter has all samples
    const count = Math.max(0, Math.floor((last * up + up - 1 - this.position) / down) + 1);
    const output = new Float32Array(count);
    for (let index = 0; index < count; index++) {
      const start = Math.floor(this.position / up);
      const taps = this.phases[this.position % up];
      let sum = 0;
      for (let tap = 0; tap < taps.length; tap++) sum += samples[start + tap] * taps[tap];
      output[index] = sum;
      this.position += down;
    }
    const used = Math.min(Math.floor(this.position / up), samples.length);
    this.kept = samples.slice(used);
    this.position -= used * up;
    return output;
  }

  /** Return the rest of the output, after the last input. */
  flush() {
    const rest = this.up === this.down ? new Float32Array(0) : this.process(new Float32Array(this.half));
    this.reset();
    return rest;
  }
}

/** Return the filter, one set of taps for each position of an output between two inputs. */
function makePhases(up, half, cutoff) {
  return Array.from({ length: up }, (_, phase) => {
    const taps = new Float32Array(2 * half);
    let sum = 0;
    for (let tap = 0; tap < taps.length; tap++) {
      const distance = tap - (half - 1) - phase / up;
      taps[tap] = sinc(distance * cutoff) * kaiser(distance / half);
      sum += taps[tap];
    }
    return taps.map((tap) => tap / sum); // a constant stays what it is
  });
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

/** The modified Bessel function of order 0. */
function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
