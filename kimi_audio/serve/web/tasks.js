/** What the HTTP routes do for a recording or a text. */

import { ServerError, ask as request, askJson, eventsOf } from "./http.js";
import { fromBase64, fromPcm16, RATE_HZ, toBase64, wavFile } from "./pcm.js";

const HEARD_RATE_HZ = 16000; // the model hears no more

/**
 * Return what is said in a recording, with times.
 * @param {File} file
 * @param {AbortSignal} signal
 * @returns {Promise<{text: string, segments: {start: number, end: number, text: string}[]}>}
 */
export async function transcribe(file, signal) {
  const body = new FormData();
  body.set("model", "kimi-audio");
  body.set("response_format", "verbose_json");
  body.set("timestamp_granularities[]", "segment");
  body.set("file", file, file.name);
  return (await request("/v1/audio/transcriptions", { method: "POST", body, signal })).json();
}

/** Return the answer to a question about a recording. */
export async function ask(file, question, onText, signal) {
  const content = [{ type: "text", text: question }, await inputAudio(file)];
  const body = { model: "kimi-audio", stream: true, modalities: ["text"], messages: [{ role: "user", content }] };
  let text = "";
  for await (const event of eventsOf(await askJson("/v1/chat/completions", body, signal))) {
    text += event.choices[0]?.delta.content ?? "";
    onText(text);
  }
  return text;
}

/** Return a recording said again in another voice, as a wav file. */
export async function convert(file, voice, signal) {
  const content = [{ type: "text", text: `Say this in the voice of ${voice}.` }, await inputAudio(file)];
  const audio = { voice, format: "wav" };
  const body = { model: "kimi-audio", modalities: ["text", "audio"], audio, messages: [{ role: "user", content }] };
  const answer = await (await askJson("/v1/chat/completions", body, signal)).json();
  const sound = answer.choices[0].message.audio?.data;
  if (!sound) throw new ServerError("The model said nothing.", 200, null);
  return new Blob([fromBase64(sound)], { type: "audio/wav" });
}

/** Return a text read aloud, as a wav file. */
export async function read(text, voice, signal) {
  const body = { model: "kimi-audio", input: text, voice, response_format: "pcm" };
  const pcm = new Uint8Array(await (await askJson("/v1/audio/speech", body, signal)).arrayBuffer());
  return new Blob([wavFile(fromPcm16(pcm), RATE_HZ)], { type: "audio/wav" });
}

/** Return a recording as a part of a message: a wav file if the browser can read it, else as it is. */
async function inputAudio(file) {
  const bytes = await file.arrayBuffer();
  let data, format;
  try {
    const sound = await new OfflineAudioContext(1, 1, HEARD_RATE_HZ).decodeAudioData(bytes.slice(0));
    data = wavFile(mono(sound), HEARD_RATE_HZ);
    format = "wav";
  } catch {
    data = new Uint8Array(bytes);
    format = file.name.split(".").at(-1).toLowerCase();
  }
  return { type: "input_audio", input_audio: { data: toBase64(data), format } };
}

function mono(sound) {
  const sum = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    sound.getChannelData(channel).forEach((sample, index) => (sum[index] += sample / sound.numberOfChannels));
  }
  return sum;
}
