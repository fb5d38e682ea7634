/** Shows a conversation. */

import { $, make, setText } from "./dom.js";
import { totalMs } from "./latency.js";
import { PROBLEMS } from "./problems.js";

const NAMES = { user: "You", assistant: "Kimi", note: "Note" };
const WORDS = {
  idle: "Start talking",
  connecting: "Connecting",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking",
  speaking: "Speaking",
  error: "",
};

export class TalkView {
  constructor(conversation) {
    this.conversation = conversation;
    this.shown = new Map(); // entry ids: {entry, element}
    this.announced = new Set();
    this.hadFocus = null;
  }

  show() {
    const { conversation } = this;
    const phase = conversation.phase;
    const before = document.body.dataset.phase;
    document.body.dataset.phase = phase;
    const isLive = conversation.isOn;
    setText($("#phase"), this._word(phase));
    setText($("#hint"), this._hint(phase));
    this._showOrb(phase);
    this._showProblem(conversation.state.problem, before);
    $("#controls").hidden = !isLive && phase !== "connecting";
    $("#mute").hidden = $("#level").hidden = !conversation.microphone;
    $("#mute").setAttribute("aria-pressed", String(conversation.isMuted));
    setText($("#mute span"), conversation.isMuted ? "Unmute" : "Mute");
    this._showEntries(conversation.entries);
    this._showLatency(conversation.turns.findLast((turn) => turn.parts.length));
  }

  /** The loudness changes often, so it is shown by itself. */
  showLevel() {
    const { level, isMuted } = this.conversation;
    $("#level").value = isMuted ? 0 : Math.min(1, Math.sqrt(level) * 1.6);
  }

  _word(phase) {
    const { conversation } = this;
    if (phase === "listening" && !conversation.microphone) return "Write something";
    if (phase === "listening" && conversation.isByHand) return "Hold to talk";
    if (phase === "listening" && conversation.isMuted) return "Muted";
    return WORDS[phase];
  }

  _hint(phase) {
    const { conversation } = this;
    if (phase === "idle") return "One click, then just speak.";
    if (phase === "connecting") return conversation.microphone ? "" : "Your browser may ask for the microphone.";
    if (phase === "listening" && conversation.microphone && conversation.isByHand) return "The orb, or the space bar.";
    if (phase === "listening" && conversation.microphone && !conversation.isMuted) return "Just speak.";
    if (phase === "speaking") return conversation.microphone ? "Speak to interrupt, or press the orb." : "Press the orb to stop.";
    return "";
  }

  _showOrb(phase) {
    const { conversation } = this;
    const labels = { idle: "Start talking", error: "Try again", speaking: "Stop the reply", thinking: "Stop the reply" };
    const isHeldHere = conversation.isOn && conversation.isByHand && conversation.microphone;
    setText($("#orb-label"), isHeldHere ? "Hold to talk" : (labels[phase] ?? WORDS[phase]));
    const canPress = isHeldHere || phase in labels;
    $("#orb").setAttribute("aria-disabled", String(!canPress));
  }

  _showProblem(name, phaseBefore) {
    const box = $("#problem");
    if (!name) {
      box.hidden = true;
      return;
    }
    const problem = PROBLEMS[name];
    setText(box.querySelector("strong"), problem.title);
    setText(box.querySelector("p"), problem.remedy);
    $("#write-instead").hidden = !problem.canType;
    box.hidden = false;
    if (phaseBefore !== "error" && document.activeElement === document.body) $("#retry").focus();
  }

  _showEntries(entries) {
    const list = $("#transcript");
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    const ids = new Set(entries.map((entry) => entry.id));
    for (const [id, { element }] of this.shown) {
      if (!ids.has(id)) {
        element.remove();
        this.shown.delete(id);
        this.announced.delete(id);
      }
    }
    let last = null;
    for (const entry of entries) {
      const shown = this.shown.get(entry.id);
      const element = shown?.element ?? make("li", {}, make("span", { className: "who" }), make("p"));
      if (shown?.entry !== entry) this._showEntry(element, entry);
      if (!shown) last ? last.after(element) : list.prepend(element);
      this.shown.set(entry.id, { entry, element });
      last = element;
    }
    if (isAtEnd) list.scrollTop = list.scrollHeight;
    $("#no-words").hidden = entries.length > 0;
  }

  _showEntry(element, entry) {
    element.className = `${entry.role}${entry.isFinal ? "" : " partial"}${entry.isCut ? " cut" : ""}`;
    setText(element.firstChild, NAMES[entry.role]);
    setText(element.lastChild, entry.text || (entry.isCut ? "" : "…"));
    element.lastChild.title = entry.isCut ? "Interrupted: only what you heard is kept" : "";
    if (entry.isFinal && entry.text && !this.announced.has(entry.id)) {
      this.announced.add(entry.id);
      const said = make("p", {}, `${NAMES[entry.role]}: ${entry.text}`);
      $("#announcer").replaceChildren(said); // whole sentences only: partial ones would be read again and again
    }
  }

  _showLatency(turn) {
    const figure = $("#latency");
    figure.hidden = !turn;
    if (!turn || turn === this.shownTurn) return;
    this.shownTurn = turn;
    const total = totalMs(turn.parts);
    setText(figure.querySelector("figcaption"), `Answered in ${seconds(total)}`);
    const bars = turn.parts.map((part) => {
      const bar = make("i", { className: part.name });
      bar.style.flexGrow = String(Math.max(part.ms, total / 100));
      return bar;
    });
    figure.querySelector(".bar").replaceChildren(...bars);
    const items = turn.parts.map((part) => make("li", { className: part.name }, `${part.title} ${part.ms} ms`));
    figure.querySelector("ul").replaceChildren(...items);
  }
}

function seconds(ms) {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}
