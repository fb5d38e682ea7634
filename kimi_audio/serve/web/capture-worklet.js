/** Turns the microphone into pieces of 40 ms: 16-bit samples at 24 kHz, with their loudness. */

import { RATE_HZ, toPcm16 } from "./pcm.js";
import { Resampler } from "./resample.js";

const PIECE_SAMPLES = RATE_HZ / 25;

class CaptureProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.piece = new Float32Array(PIECE_SAMPLES);
    this.filled = 0;
  }

  process([input]) {
    if (input.length === 0) return true; // nothing is connected
    const samples = this.resampler.process(mono(input));
    for (let start = 0; start < samples.length; ) {
      const part = samples.subarray(start, start + PIECE_SAMPLES - this.filled);
      this.piece.set(part, this.filled);
      this.filled += part.length;
      start += part.length;
      if (this.filled === PIECE_SAMPLES) this.send();
    }
    return true;
  }

  send() {
    let energy = 0;
    for (const sample of this.piece) energy += sample * sample;
    const pcm = toPcm16(this.piece).buffer;
    this.port.postMessage({ pcm, level: Math.sqrt(energy / PIECE_SAMPLES) }, [pcm]);
    this.filled = 0;
  }
}

function mono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, index) => channels.reduce((sum, channel) => sum + channel[index], 0) / channels.length);
}

registerProcessor("capture", CaptureProcessor);
