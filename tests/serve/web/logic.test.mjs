/** The page's logic that needs no browser; run by test_logic.py. */

import assert from "node:assert/strict";
import { test } from "node:test";

const page = (name) => import(new URL(`../../../kimi_audio/serve/web/${name}.js`, import.meta.url));
const { Resampler } = await page("resample");
const { Playout } = await page("playout");
const { fromBase64, fromPcm16, toBase64, toPcm16, wavFile } = await page("pcm");
const phases = await page("phase");
const transcript = await page("transcript");
const { partsOf, totalMs } = await page("latency");
const { closeProblem, PROBLEMS } = await page("problems");
const { clock, srt } = await page("times");
const { sessionOf } = await page("settings");

const tone = (hz, rateHz, seconds) =>
  Float32Array.from({ length: Math.round(rateHz * seconds) }, (_, index) => Math.sin((2 * Math.PI * hz * index) / rateHz));
const rms = (samples) => Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
const joined = (parts) => Float32Array.from(parts.flatMap((part) => [...part]));

// ---------------------------------------------------------------------------------------------------------------------
// Sample rates

for (const [fromHz, toHz] of [[48000, 24000], [44100, 24000], [16000, 24000], [24000, 48000], [24000, 44100], [24000, 24000]]) {
  test(`a tone survives ${fromHz} to ${toHz} Hz`, () => {
    const resampler = new Resampler(fromHz, toHz);
    const output = joined([resampler.process(tone(1000, fromHz, 0.5)), resampler.flush()]);
    assert.ok(Math.abs(output.length - 0.5 * toHz) <= 2, `${output.length} samples`);
    const wanted = tone(1000, toHz, 0.5);
    const middle = (samples) => samples.slice(0.05 * toHz, 0.45 * toHz);
    const error = middle(output).map((sample, index) => sample - middle(wanted)[index]);
    assert.ok(rms(error) < 2e-3, `error ${rms(error)}`);
  });
}

test("pieces of any size give what the whole gives", () => {
  const whole = tone(440, 44100, 0.2);
  const once = joined([new Resampler(44100, 24000).process(whole)]);
  const resampler = new Resampler(44100, 24000);
  const parts = [];
  for (let start = 0, size = 1; start < whole.length; start += size, size = (size * 7) % 131 || 1) {
    parts.push(resampler.process(whole.subarray(start, start + size)));
  }
  assert.deepEqual(joined(parts), once);
});

test("what the lower rate cannot hold is left out", () => {
  assert.ok(rms(new Resampler(48000, 24000).process(tone(15000, 48000, 0.2)).slice(200)) < 1e-3);
});

// ---------------------------------------------------------------------------------------------------------------------
// Playing

const pulled = (playout, count) => {
  const output = new Float32Array(count);
  playout.pull(output);
  return output;
};

test("playing begins once there is enough, and waits longer after gaps", () => {
  const playout = new Playout(1000);
  playout.push("a", new Float32Array(59).fill(1));
  assert.equal(rms(pulled(playout, 10)), 0);
  playout.push("a", new Float32Array(1).fill(1));
  assert.equal(pulled(playout, 100).filter((sample) => sample === 1).length, 60);
  assert.equal(playout.isPlaying, false);
  assert.equal(playout.current, "a"); // a gap is no end
  playout.push("a", new Float32Array(80).fill(1));
  assert.equal(rms(pulled(playout, 80)), 1);
  assert.equal(playout.gaps, 1);
  playout.push("a", new Float32Array(99).fill(1));
  assert.equal(rms(pulled(playout, 10)), 0);
  playout.push("a", new Float32Array(1).fill(1));
  assert.equal(rms(pulled(playout, 10)), 1);
  assert.equal(playout.gaps, 2);
});

test("a short item is played when it is complete, and the next one follows without a gap", () => {
  const playout = new Playout(1000);
  playout.push("a", new Float32Array(10).fill(1));
  playout.complete("a");
  playout.push("b", new Float32Array(10).fill(2));
  playout.complete("b");
  assert.deepEqual([...pulled(playout, 25)], [...Array(10).fill(1), ...Array(10).fill(2), 0, 0, 0, 0, 0]);
  assert.equal(playout.gaps, 0);
  assert.equal(playout.current, null);
});

test("stopping fades, and tells what was heard of what", () => {
  const playout = new Playout(1000);
  playout.push("a", new Float32Array(500).fill(1));
  playout.push("b", new Float32Array(500).fill(1));
  pulled(playout, 200);
  assert.deepEqual(playout.stop(), [{ id: "a", playedS: 0.212 }, { id: "b", playedS: 0 }]);
  playout.push("c", new Float32Array(100).fill(3)); // does not wait for the fade, nor is it lost
  const after = pulled(playout, 100);
  for (let index = 1; index < 12; index++) assert.ok(after[index] < after[index - 1]);
  assert.equal(after[11], 0);
  assert.equal(after[12], 3);
  assert.equal(playout.queuedS, 0.012);
});

test("stopping silence cuts nothing", () => {
  assert.deepEqual(new Playout(1000).stop(), []);
});

// ---------------------------------------------------------------------------------------------------------------------
// Bytes

test("samples survive their way as bytes", () => {
  const samples = Float32Array.from([0, 0.5, -0.5, 1, -1, 2, -2]);
  const bytes = new Uint8Array(toPcm16(samples).buffer);
  const back = fromPcm16(fromBase64(toBase64(bytes)));
  samples.forEach((sample, index) => assert.ok(Math.abs(Math.max(-1, Math.min(1, sample)) - back[index]) < 1e-4));
  const long = new Uint8Array(100_000).map((_, index) => index);
  assert.deepEqual(fromBase64(toBase64(long)), long);
});

test("a wav file says what it holds", () => {
  const view = new DataView(wavFile(new Float32Array(10), 24000).buffer);
  assert.equal(view.byteLength, 64);
  assert.equal(view.getUint32(24, true), 24000);
  assert.equal(view.getUint32(40, true), 20);
});

// ---------------------------------------------------------------------------------------------------------------------
// Phases

const phaseAfter = (...events) => phases.phaseOf(events.reduce(phases.next, phases.BEGINNING));
const ON = [{ type: "start" }, { type: "connected" }];
const TURN = [{ type: "input_audio_buffer.speech_started" }, { type: "input_audio_buffer.speech_stopped" }];
const CREATED = { type: "response.created", response: { id: "r" } };
const PLAYING = { type: "playing", isPlaying: true };

test("a turn goes through the phases", () => {
  assert.equal(phaseAfter(), "idle");
  assert.equal(phaseAfter({ type: "start" }), "connecting");
  assert.equal(phaseAfter(...ON), "listening");
  assert.equal(phaseAfter(...ON, TURN[0]), "hearing");
  assert.equal(phaseAfter(...ON, ...TURN), "thinking");
  assert.equal(phaseAfter(...ON, ...TURN, CREATED), "thinking");
  assert.equal(phaseAfter(...ON, ...TURN, CREATED, PLAYING), "speaking");
  // It was made faster than it is played.
  assert.equal(phaseAfter(...ON, ...TURN, CREATED, PLAYING, { type: "response.done" }), "speaking");
  const played = { type: "playing", isPlaying: false };
  assert.equal(phaseAfter(...ON, ...TURN, CREATED, PLAYING, { type: "response.done" }, played), "listening");
});

test("who holds the button is heard, though what came before is thrown away", () => {
  const held = [...ON, { type: "talking", isHeld: true }, { type: "input_audio_buffer.cleared" }];
  assert.equal(phaseAfter(...held), "hearing");
  assert.equal(phaseAfter(...held, { type: "talking", isHeld: false }), "listening");
  assert.equal(phaseAfter(...held, { type: "asked" }), "thinking");
});

test("who interrupts is heard", () => {
  assert.equal(phaseAfter(...ON, ...TURN, CREATED, PLAYING, TURN[0]), "hearing");
});

test("an error ends waiting for a reply that will not come, not one that is made", () => {
  assert.equal(phaseAfter(...ON, { type: "asked" }, { type: "error" }), "listening");
  assert.equal(phaseAfter(...ON, { type: "asked" }, CREATED, { type: "error" }), "thinking");
});

test("an end with a problem is an error until one starts again", () => {
  assert.equal(phaseAfter(...ON, { type: "ended", problem: "lost" }), "error");
  assert.equal(phaseAfter(...ON, { type: "ended", problem: "lost" }, { type: "start" }), "connecting");
  assert.equal(phaseAfter(...ON, ...TURN, { type: "ended", problem: null }), "idle");
});

// ---------------------------------------------------------------------------------------------------------------------
// Words

const said = (...events) => events.reduce(transcript.next, []);
const HEARD = "conversation.item.input_audio_transcription";
const item = (id, role, content) => ({ id, type: "message", role, content });

test("what is heard in parts is replaced by the whole", () => {
  const parts = [
    { type: "input_audio_buffer.speech_started", item_id: "u" },
    { type: `${HEARD}.delta`, item_id: "u", delta: "what tim" },
    { type: `${HEARD}.delta`, item_id: "u", delta: "e" },
  ];
  assert.equal(said(...parts)[0].text, "what time");
  assert.equal(said(...parts)[0].isFinal, false);
  const whole = said(...parts, { type: `${HEARD}.completed`, item_id: "u", transcript: "What time is it?" });
  assert.deepEqual([whole.length, whole[0].text, whole[0].isFinal], [1, "What time is it?", true]);
});

test("a question that is written down late stands before its answer", () => {
  const entries = said(
    { type: "conversation.item.added", item: item("u", "user", [{ type: "input_audio", transcript: null }]) },
    { type: "conversation.item.added", item: item("a", "assistant", []), previous_item_id: "u" },
    { type: "response.output_audio_transcript.delta", item_id: "a", delta: "three" },
    { type: `${HEARD}.completed`, item_id: "u", transcript: "What time is it?" },
  );
  assert.deepEqual(entries.map(({ text }) => text), ["What time is it?", "three"]);
});

test("of an interrupted reply only what was heard remains", () => {
  const entries = said(
    { type: "conversation.item.added", item: item("a", "assistant", []) },
    { type: "response.output_audio_transcript.delta", item_id: "a", delta: "one two three" },
    { type: "conversation.item.truncated", item_id: "a" },
    { type: "conversation.item.retrieved", item: item("a", "assistant", [{ type: "output_audio", transcript: "one" }]) },
  );
  assert.deepEqual([entries[0].text, entries[0].isCut, entries[0].isFinal], ["one", true, true]);
});

test("sound that is thrown away leaves no words; what is committed does", () => {
  const started = { type: "input_audio_buffer.speech_started", item_id: "u" };
  assert.deepEqual(said(started, { type: "input_audio_buffer.cleared" }), []);
  const added = { type: "conversation.item.added", item: item("u", "user", [{ type: "input_audio", transcript: null }]) };
  assert.equal(said(started, added, { type: "input_audio_buffer.cleared" }).length, 1);
});

test("a reply that fails says why", () => {
  const response = { status: "failed", output: [], status_details: { error: { message: "The reply took too long." } } };
  assert.deepEqual(said({ type: "response.done", response }).map(({ role, text }) => [role, text]), [
    ["note", "The reply took too long."],
  ]);
});

test("entries that do not change stay the same objects", () => {
  const before = said({ type: "note", text: "x" });
  assert.equal(transcript.next(before, { type: "rate_limits.updated" }), before);
  assert.equal(transcript.next(before, { type: "note", text: "y" })[0], before[0]);
});

// ---------------------------------------------------------------------------------------------------------------------
// Times and settings

test("the parts of the latency make up the whole", () => {
  const metadata = {
    end_of_speech_to_commit_ms: "500",
    created_to_first_text_ms: "120",
    created_to_first_sound_ms: "300",
    end_of_speech_to_first_sound_ms: "810",
  };
  const parts = partsOf(metadata, 90.4);
  assert.deepEqual(parts.map(({ name, ms }) => [name, ms]), [["silence", 500], ["text", 130], ["sound", 180], ["playout", 90]]);
  assert.equal(totalMs(parts), 900);
});

test("a written question has no silence, and without measurements there are no parts", () => {
  const metadata = { created_to_first_text_ms: "100", created_to_first_sound_ms: "250" };
  assert.deepEqual(partsOf(metadata, null).map(({ name, ms }) => [name, ms]), [["text", 100], ["sound", 150]]);
  assert.deepEqual(partsOf(null, null), []);
});

test("the end of a connection is explained", () => {
  assert.equal(closeProblem(1000, null, true), null);
  assert.equal(closeProblem(1000, "session_expired", true), "expired");
  assert.equal(closeProblem(1013, null, false), "full");
  assert.equal(closeProblem(1006, null, true), "lost");
  assert.equal(closeProblem(1006, null, false), "refused");
  assert.equal(closeProblem(1001, null, true), "stopping");
  for (const name of ["expired", "full", "lost", "refused", "stopping"]) assert.ok(PROBLEMS[name].remedy);
});

test("times of recordings", () => {
  assert.equal(clock(62.9), "1:02");
  assert.equal(clock(3602), "1:00:02");
  assert.equal(srt([{ start: 1.5, end: 62.25, text: " hi " }]), "1\n00:00:01,500 --> 00:01:02,250\nhi\n");
});

test("the session follows the settings", () => {
  const settings = { voice: "Ava", instructions: "brief", turns: "pause", silenceMs: 300, eagerness: "low" };
  const { audio } = sessionOf(settings, true, "audio");
  assert.deepEqual(audio.input.turn_detection, { type: "server_vad", silence_duration_ms: 300 });
  assert.equal(audio.output.voice, "Ava");
  assert.equal("voice" in sessionOf(settings, false, "audio").audio.output, false);
  assert.equal(sessionOf({ ...settings, turns: "manual" }, true, "text").audio.input.turn_detection, null);
  const meaning = sessionOf({ ...settings, turns: "meaning" }, true, "text").audio.input.turn_detection;
  assert.deepEqual(meaning, { type: "semantic_vad", eagerness: "low" });
});
