/** Plays 24 kHz sound in the audio thread and tells what was heard. */

import { RATE_HZ } from "./pcm.js";
import { Playout } from "./playout.js";
import { Resampler } from "./resample.js";

const REPORT_S = 0.05;

class PlayoutProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playout = new Playout(sampleRate);
    this.resampler = new Resampler(RATE_HZ, sampleRate);
    this.wasPlaying = null; // the id of the item
    this.reportedS = 0;
    this.port.onmessage = ({ data }) => this.handle(data);
  }

  handle(message) {
    if (message.type === "push") {
      this.playout.push(message.id, this.resampler.process(message.samples));
    } else if (message.type === "complete") {
      this.playout.push(message.id, this.resampler.flush());
      this.playout.complete(message.id);
    } else if (message.type === "stop") {
      this.resampler.reset();
      this.port.postMessage({ type: "stopped", items: this.playout.stop() });
    }
  }

  process(_inputs, [[output]]) {
    this.playout.pull(output);
    const { current: id, gaps, queuedS } = this.playout;
    if (id !== this.wasPlaying || (id !== null && currentTime - this.reportedS >= REPORT_S)) {
      this.port.postMessage({ type: "progress", id, atS: currentTime, gaps, queuedS });
      this.reportedS = currentTime;
    }
    this.wasPlaying = id;
    return true;
  }
}

registerProcessor("playout", PlayoutProcessor);
