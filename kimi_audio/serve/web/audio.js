/** Microphone and loudspeaker of the page. */

import { fromBase64, fromPcm16, RATE_HZ } from "./pcm.js";

const ANALYSER_SAMPLES = 1024;

/** Tell whether the page can play and record: in insecure pages it cannot. */
export function canPlay() {
  return "BaseAudioContext" in window && "audioWorklet" in BaseAudioContext.prototype;
}

/** Open the loudspeaker; call it while a click is handled, or the browser keeps it silent. */
export async function openSpeaker(volume) {
  const context = new AudioContext({ latencyHint: "interactive" });
  const resumed = context.resume();
  const here = (name) => new URL(name, import.meta.url).href;
  await Promise.all(["./playout-worklet.js", "./capture-worklet.js"].map((name) => context.audioWorklet.addModule(here(name))));
  await resumed;
  return new Speaker(context, volume);
}

/** Plays items one after another; `onProgress` tells which, `onStopped` what was cut. */
export class Speaker {
  constructor(context, volume) {
    this.context = context;
    this.node = new AudioWorkletNode(context, "playout", { numberOfInputs: 0, outputChannelCount: [1] });
    this.analyser = new AnalyserNode(context, { fftSize: ANALYSER_SAMPLES, smoothingTimeConstant: 0.6 });
    this.gain = new GainNode(context, { gain: volume });
    this.node.connect(this.analyser).connect(this.gain).connect(context.destination);
    this.onProgress = this.onStopped = () => {};
    this.node.port.onmessage = ({ data }) => {
      if (data.type === "stopped") this.onStopped(data.items);
      else this.onProgress(data);
    };
  }

  /** Play a piece in base64. @returns {number} its milliseconds */
  push(id, base64) {
    const samples = fromPcm16(fromBase64(base64));
    const ms = (1000 * samples.length) / RATE_HZ;
    this.node.port.postMessage({ type: "push", id, samples }, [samples.buffer]);
    return ms;
  }

  complete(id) {
    this.node.port.postMessage({ type: "complete", id });
  }

  stop() {
    this.node.port.postMessage({ type: "stop" });
  }

  set volume(value) {
    this.gain.gain.setTargetAtTime(value, this.context.currentTime, 0.02);
  }

  /** Milliseconds until what is played now is heard. */
  get latencyMs() {
    return 1000 * (this.context.outputLatency || this.context.baseLatency || 0);
  }

  close() {
    this.node.port.onmessage = null; // what comes late is of no interest
    return this.context.close();
  }
}

/**
 * Open the microphone.
 * @param {AudioContext} context
 * @param {string} deviceId "" takes the system's
 * @throws {DOMException} of `getUserMedia`
 */
export async function openMicrophone(context, deviceId) {
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
  if (deviceId) audio.deviceId = { ideal: deviceId };
  return new Microphone(context, await navigator.mediaDevices.getUserMedia({ audio }));
}

/** Gives pieces of 40 ms to `onPiece`, as bytes, with their loudness from 0 to 1. */
export class Microphone {
  constructor(context, stream) {
    this.stream = stream;
    this.track = stream.getAudioTracks()[0];
    this.analyser = new AnalyserNode(context, { fftSize: ANALYSER_SAMPLES, smoothingTimeConstant: 0.6 });
    this.source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    this.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    this.source.connect(this.analyser).connect(this.node);
    this.onPiece = () => {};
    this.onLost = () => {}; // unplugged, or taken away
    this.node.port.onmessage = ({ data }) => this.onPiece(new Uint8Array(data.pcm), data.level);
    this.track.onended = () => this.onLost();
  }

  /** A muted microphone gives silence, so that the server still hears where a turn ends. */
  set isMuted(value) {
    this.track.enabled = !value;
  }

  close() {
    this.track.onended = null;
    this.node.port.onmessage = null;
    this.source.disconnect();
    this.track.stop();
  }
}
