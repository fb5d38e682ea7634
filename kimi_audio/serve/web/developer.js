/** The drawer for developers: the events of both sides, and how long replies took. */

import { $, make, saveFile } from "./dom.js";
import { totalMs } from "./latency.js";

const MOST_EVENTS = 500;
const LONG_TEXT = 200; // of sound in base64, so much is kept

export class Developer {
  constructor() {
    this.events = []; // {atMs, direction, event}
    this.sinceMs = performance.now();
    $("#open-developer").addEventListener("click", () => this.toggle($("#developer").hidden));
    $("#close-developer").addEventListener("click", () => this.toggle(false));
    $("#developer").addEventListener("keydown", ({ key }) => key === "Escape" && this.toggle(false));
    $("#hide-sound").addEventListener("change", () => this._showAll());
    $("#clear-log").addEventListener("click", () => {
      this.events = [];
      this._showAll();
    });
    $("#save-log").addEventListener("click", () => {
      const lines = this.events.map((line) => JSON.stringify(line)).join("\n");
      saveFile("kimi-audio-events.jsonl", `${lines}\n`, "application/jsonl");
    });
  }

  toggle(isOpen) {
    $("#developer").hidden = !isOpen;
    document.body.classList.toggle("has-drawer", isOpen);
    $("#open-developer").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      this._showAll();
      $("#close-developer").focus();
    } else {
      $("#open-developer").focus();
    }
  }

  /** Take note of an event. */
  note(direction, event) {
    const line = { atMs: Math.round(performance.now() - this.sinceMs), direction, event: shortened(event) };
    this.events.push(line);
    if (this.events.length > MOST_EVENTS) this.events.shift();
    if (!$("#developer").hidden && this._isShown(line)) this._append([line]);
  }

  /** Show how long the replies took. */
  showTurns(turns) {
    const cell = (text) => make("td", {}, String(text));
    const rows = turns.map((turn, index) => {
      const ms = Object.fromEntries(turn.parts.map((part) => [part.name, part.ms]));
      const values = ["silence", "text", "sound", "playout"].map((name) => cell(ms[name] ?? "–"));
      const total = cell(turn.parts.length ? totalMs(turn.parts) : "–");
      const head = make("th", { scope: "row", title: turn.responseId }, turn.status === "completed" ? `${index + 1}` : `${index + 1} ${turn.status}`);
      return make("tr", {}, head, ...values, total, cell(turn.gaps));
    });
    $("#timings").replaceChildren(...rows);
  }

  _isShown({ event }) {
    const isSound = event.type === "input_audio_buffer.append" || event.type === "response.output_audio.delta";
    return !($("#hide-sound").checked && isSound);
  }

  _showAll() {
    $("#events").replaceChildren();
    this._append(this.events.filter((line) => this._isShown(line)));
  }

  _append(lines) {
    const list = $("#events");
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...lines.map(row));
    while (list.children.length > MOST_EVENTS) list.firstChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }
}

function row({ atMs, direction, event }) {
  const summary = make(
    "summary",
    {},
    make("time", {}, (atMs / 1000).toFixed(2)),
    make("b", { title: direction === "in" ? "from the server" : "to the server" }, direction === "in" ? "↓" : "↑"),
    event.type,
  );
  const details = make("details", {}, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(make("pre", {}, JSON.stringify(event, null, 2)));
  });
  return make("li", { className: `${direction}${event.type === "error" ? " error" : ""}` }, details);
}

/** Return an event whose sound is only named. */
function shortened(event) {
  return JSON.parse(
    JSON.stringify(event, (name, value) => {
      const isSound = (name === "audio" || name === "delta") && typeof value === "string" && value.length > LONG_TEXT;
      return isSound ? `${value.slice(0, 12)}… (${value.length} characters)` : value;
    }),
  );
}
