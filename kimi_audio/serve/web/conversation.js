/** One conversation: microphone, connection and loudspeaker together. It draws nothing. */

import { canPlay, openMicrophone, openSpeaker } from "./audio.js";
import { Connection, ConnectionProblem } from "./connection.js";
import { partsOf } from "./latency.js";
import { toBase64 } from "./pcm.js";
import * as phase from "./phase.js";
import { microphoneProblem } from "./problems.js";
import { sessionOf } from "./settings.js";
import * as transcript from "./transcript.js";

const LEAST_HOLD_MS = 200;
// Crossings on the way: what was to be ended had just ended by itself.
const HARMLESS = new Set(["response_cancel_not_active", "item_in_progress"]);

export class Conversation {
  /**
   * @param {() => object} settings see settings.js
   * @param {() => void} onChange is called after anything that can be seen has changed
   * @param {(direction: string, event: object) => void} onTraffic
   */
  constructor(settings, onChange, onTraffic) {
    Object.assign(this, { settings, onChange, onTraffic });
    this.state = phase.BEGINNING;
    this.entries = [];
    this.turns = []; // {responseId, itemId, metadata, arrivedMs, audibleMs, parts, status, gaps}
    this.isMuted = false;
    this.level = 0;
    this.gaps = 0;
    this.canGoOn = false; // the last conversation was cut off, so the next one continues it
    this._parts(null, null, null);
  }

  get phase() {
    return phase.phaseOf(this.state);
  }

  get isOn() {
    return this.state.connection === "on";
  }

  /** Whether a key or button is held to speak. */
  get isByHand() {
    return this.settings().turns === "manual";
  }

  // ------------------------------------------------------------------------------------------------------------------
  // What the user does

  /** Connect and listen. Call it while a click or key is handled. */
  start({ withMicrophone = true } = {}) {
    if (this.state.connection === "off") this.starting = this._start(withMicrophone);
    return this.starting;
  }

  async _start(withMicrophone) {
    const attempt = (this.attempt = {});
    if (!this.canGoOn) this.entries = this.turns = [];
    this._happened({ type: "start" });
    try {
      if (withMicrophone && !navigator.mediaDevices) throw new ConnectionProblem("insecure");
      if (withMicrophone && !canPlay()) throw new ConnectionProblem("unsupported");
      await this._open(withMicrophone);
    } catch (error) {
      if (attempt === this.attempt) this._end(problemOf(error)); // else it was hung up meanwhile
    }
  }

  hangUp() {
    this.attempt = null;
    this.canGoOn = false;
    this._end(null);
  }

  toggleMute() {
    this.isMuted = !this.isMuted;
    if (this.microphone) this.microphone.isMuted = this.isMuted;
    this.onChange();
  }

  /** Hold or let go of the button to speak. */
  hold(isHeld) {
    if (!this.isOn || !this.isByHand || !this.microphone || isHeld === this.isHeld) return;
    this.isHeld = isHeld;
    if (isHeld) {
      this.heldSinceMs = performance.now();
      this.interrupt();
      this.send({ type: "input_audio_buffer.clear" });
      this._happened({ type: "talking", isHeld });
    } else if (performance.now() - this.heldSinceMs < LEAST_HOLD_MS) {
      this.send({ type: "input_audio_buffer.clear" });
      this._happened({ type: "talking", isHeld });
      this._note("Hold the button, or the space bar, for as long as you speak.");
    } else {
      this.send({ type: "input_audio_buffer.commit" });
      this.send({ type: "response.create" });
      this._happened({ type: "asked" });
    }
  }

  /**
   * Say something in writing; without a conversation one begins, without a microphone.
   * @returns {Promise<boolean>} whether it was said
   */
  async type(text) {
    await this.start({ withMicrophone: false });
    if (!this.isOn) return false;
    this.interrupt();
    const item = { type: "message", role: "user", content: [{ type: "input_text", text }] };
    this.send({ type: "conversation.item.create", item });
    this.send({ type: "response.create" });
    this._happened({ type: "asked" });
    return true;
  }

  /** Stop the assistant. */
  interrupt() {
    if (this.state.response) this.send({ type: "response.cancel" });
    this.speaker?.stop();
  }

  /** Use settings that have changed. */
  apply() {
    if (this.speaker) this.speaker.volume = this.settings().volume;
    if (this.isOn) this.send({ type: "session.update", session: this._session(!this.hasSpoken) });
    this.onChange();
  }

  send(event) {
    this.connection?.send(event);
  }

  // ------------------------------------------------------------------------------------------------------------------
  // Beginning and end

  async _open(withMicrophone) {
    const attempt = this.attempt;
    const connection = new Connection(
      (event) => this._fromServer(event),
      (problem) => this._lose(problem),
      this.onTraffic,
    );
    const speaker = canPlay() ? await openSpeaker(this.settings().volume) : null;
    if (attempt !== this.attempt) return speaker?.close(); // hung up meanwhile
    this._parts(connection, speaker, null);
    const opened = connection.open();
    opened.catch(() => {}); // it is awaited below, unless the microphone fails first
    const microphone = withMicrophone ? await openMicrophone(speaker.context, this.settings().device) : null;
    if (attempt !== this.attempt) return microphone?.close();
    this.microphone = microphone;
    await opened;
    this.canGoOn = false;
    if (speaker) {
      speaker.onProgress = (progress) => this._progress(progress);
      speaker.onStopped = (items) => items.forEach((item) => this._truncate(item));
    }
    if (microphone) {
      microphone.isMuted = this.isMuted;
      microphone.onPiece = (pcm, level) => this._piece(pcm, level);
      microphone.onLost = () => this._lose("missing");
    }
    this._happened({ type: "connected" });
    this._keepAwake();
  }

  /** The session is there: tell it how we talk, and what was said before the connection was lost. */
  _greet() {
    this.send({ type: "session.update", session: this._session(true) });
    if (!this.canGoOn) return;
    for (const { id, role, text } of this.entries) {
      if (role === "note" || !text) continue;
      const content = [{ type: role === "user" ? "input_text" : "output_text", text }];
      this.send({ type: "conversation.item.create", item: { id, type: "message", role, content } });
    }
  }

  /** Where nothing can be played, in insecure pages, the replies are written. */
  _session(withVoice) {
    return sessionOf(this.settings(), withVoice, this.speaker ? "audio" : "text");
  }

  _parts(connection, speaker, microphone) {
    Object.assign(this, { connection, speaker, microphone });
    this.receivedMs = new Map(); // of the sound of every item
    this.cut = new Set(); // items of which nothing more is played
    this.hasSpoken = false; // from then on the voice stays
    this.isHeld = false;
    this.playing = null;
  }

  _close() {
    this.connection?.close();
    this.microphone?.close();
    this.speaker?.close();
    this.wakeLock?.release().catch(() => {});
    this.wakeLock = null;
    this._parts(null, null, null);
    this.level = 0;
  }

  /** End against the user's will: the next conversation goes on with this one. */
  _lose(problem) {
    this.canGoOn = problem !== null;
    this._end(problem);
  }

  _end(problem) {
    this._close();
    this._happened({ type: "ended", problem });
  }

  /** Phones would go to sleep while one only listens. */
  async _keepAwake() {
    this.wakeLock = await navigator.wakeLock?.request("screen").catch(() => null);
  }

  // ------------------------------------------------------------------------------------------------------------------
  // What comes in

  _piece(pcm, level) {
    this.level = level;
    if (this.isOn && (!this.isByHand || this.isHeld)) {
      this.send({ type: "input_audio_buffer.append", audio: toBase64(pcm) });
    }
  }

  _fromServer(event) {
    switch (event.type) {
      case "session.created":
        this._greet();
        break;
      case "session.expiring":
        this._note(
          event.reason === "session_limit"
            ? "A conversation may not last longer; this one ends soon. Start another one then."
            : "The server is about to stop; it finishes this reply.",
        );
        break;
      case "input_audio_buffer.speech_started":
        this.speaker?.stop();
        break;
      case "response.created":
        this.turns = [...this.turns, { responseId: event.response.id, parts: [], status: "in_progress", gaps: 0 }];
        break;
      case "response.output_audio.delta":
        this._sound(event);
        break;
      case "response.output_audio.done":
        if (!this.cut.has(event.item_id)) this.speaker?.complete(event.item_id);
        break;
      case "response.done":
        this._turn(event.response.id, { metadata: event.response.metadata, status: event.response.status });
        break;
      case "conversation.item.truncated":
        this.send({ type: "conversation.item.retrieve", item_id: event.item_id }); // only what was heard remains
        break;
      case "error":
        if (!HARMLESS.has(event.error.code)) this._note(event.error.message);
        break;
    }
    this._happened(event);
  }

  _sound({ item_id: id, response_id: responseId, delta }) {
    if (this.cut.has(id) || !this.speaker) return;
    this.hasSpoken = true;
    if (!this.receivedMs.has(id)) {
      this._turn(responseId, { itemId: id, arrivedMs: performance.now() });
    }
    this.receivedMs.set(id, (this.receivedMs.get(id) ?? 0) + this.speaker.push(id, delta));
  }

  /** The loudspeaker tells which item it plays; null is none. */
  _progress({ id, gaps }) {
    if (gaps !== this.gaps) {
      const turn = this.turns.at(-1);
      if (turn && gaps > this.gaps) this._turn(turn.responseId, { gaps: turn.gaps + gaps - this.gaps });
      this.gaps = gaps;
    }
    if (id === this.playing) return;
    this.playing = id;
    const turn = this.turns.find((one) => one.itemId === id);
    if (turn && turn.audibleMs === undefined) {
      this._turn(turn.responseId, { audibleMs: performance.now() + this.speaker.latencyMs });
    }
    this._happened({ type: "playing", isPlaying: id !== null });
  }

  _truncate({ id, playedS }) {
    this.cut.add(id);
    const received = Math.floor(this.receivedMs.get(id) ?? 0);
    const audio_end_ms = Math.min(Math.floor(1000 * playedS), received);
    this.send({ type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms });
  }

  _turn(responseId, changes) {
    this.turns = this.turns.map((turn) => {
      if (turn.responseId !== responseId) return turn;
      const changed = { ...turn, ...changes };
      const playoutMs = changed.audibleMs === undefined ? null : changed.audibleMs - changed.arrivedMs;
      return { ...changed, parts: partsOf(changed.metadata ?? null, playoutMs) };
    });
  }

  _note(text) {
    this.entries = transcript.next(this.entries, { type: "note", text });
    this.onChange();
  }

  _happened(event) {
    this.state = phase.next(this.state, event);
    this.entries = transcript.next(this.entries, event);
    this.onChange();
  }
}

function problemOf(error) {
  if (error instanceof ConnectionProblem) return error.problem;
  if (error instanceof DOMException) return microphoneProblem(error);
  console.error(error); // a fault of the page
  return "refused";
}
