/** The page for recordings and texts: transcribe, ask, change the voice, read aloud. */

import { $, make, setText } from "./dom.js";
import { ask as question, convert, read, transcribe } from "./tasks.js";
import { model, routes } from "./http.js";
import { clock, srt } from "./times.js";

const TASKS = {
  transcribe: { verb: "Transcribe", route: "/v1/audio/transcriptions", needsFile: true },
  ask: { verb: "Ask", route: "/v1/chat/completions", needsFile: true },
  convert: { verb: "Change voice", route: "/v1/chat/completions", needsFile: true },
  read: { verb: "Read aloud", route: "/v1/audio/speech", needsFile: false },
};
const NEEDS = { file: "Choose a recording first.", question: "Write a question first.", text: "Write a text first." };

export class Files {
  constructor() {
    this.file = null;
    this.running = null; // an AbortController
    this.addresses = []; // of blobs
    $("#file").addEventListener("change", ({ target }) => this.choose(target.files[0]));
    for (const name of ["dragover", "dragleave", "drop"]) $("#drop").addEventListener(name, (event) => this._drag(event));
    $("#job").addEventListener("change", () => this._showTask());
    $("#job").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    $("#cancel").addEventListener("click", () => this.running?.abort());
    $("#copy").addEventListener("click", () => navigator.clipboard.writeText(this.text));
    this._showTask();
  }

  get task() {
    return $("#job").elements.task.value;
  }

  /** Learn what this server can do, and show no more than that. */
  async prepare() {
    if (this.isPrepared) return;
    try {
      const [paths, { voices }] = await Promise.all([routes(), model()]);
      for (const input of $("#job").elements.task) input.parentElement.hidden = !paths.has(TASKS[input.value].route);
      const named = voices.filter((name) => name !== "default");
      const options = voices.map((name) => make("option", { value: name }, name));
      $("#file-voice").replaceChildren(...options);
      if (!named.length) $("#job").elements.task.forEach((one) => (one.parentElement.hidden ||= one.value === "convert"));
      this.isPrepared = true;
    } catch (error) {
      this._problem(error.message);
    }
  }

  choose(file) {
    if (!file) return;
    this.file = file;
    setText($("#file-name"), file.name);
    setText($("#file-about"), `${(file.size / 2 ** 20).toFixed(1)} MiB`);
    this._problem("");
  }

  async run() {
    if (this.running) return;
    const missing = this._missing();
    this._problem(missing);
    if (missing) return;
    this.running = new AbortController();
    this._busy(true);
    try {
      await this._run(this.running.signal);
    } catch (error) {
      if (error.name !== "AbortError") this._problem(error.message);
    } finally {
      this.running = null;
      this._busy(false);
    }
  }

  async _run(signal) {
    this._clearResult();
    const { task, file } = this;
    const voice = $("#file-voice").value;
    const onText = (text) => this._showText(text);
    if (task === "transcribe") {
      this._play(file);
      const { text, segments } = await transcribe(file, signal);
      if (!text) return onText("(no speech)");
      this._showSegments(segments);
      const name = file.name.replace(/\.\w+$/, "");
      this._offer(new Blob([srt(segments)], { type: "application/x-subrip" }), `${name}.srt`);
    } else if (task === "ask") {
      this._play(file);
      const text = await question(file, $("#question").value.trim(), onText, signal);
      this._offer(new Blob([`${text}\n`], { type: "text/plain" }), "answer.txt");
    } else {
      const sound = await (task === "read" ? read($("#read-text").value, voice, signal) : convert(file, voice, signal));
      this._play(sound);
      this._offer(sound, task === "read" ? "speech.wav" : "voice.wav");
    }
  }

  _missing() {
    if (TASKS[this.task].needsFile && !this.file) return NEEDS.file;
    if (this.task === "ask" && !$("#question").value.trim()) return NEEDS.question;
    return this.task === "read" && !$("#read-text").value.trim() ? NEEDS.text : "";
  }

  _showTask() {
    for (const part of document.querySelectorAll("#job [data-for]")) {
      part.hidden = !part.dataset.for.split(" ").includes(this.task);
    }
    setText($("#run"), TASKS[this.task].verb);
    this._problem("");
  }

  _busy(isBusy) {
    $("#run").disabled = isBusy;
    $("#job").classList.toggle("busy", isBusy);
    $("#cancel").hidden = !isBusy;
    $("#result").setAttribute("aria-busy", String(isBusy));
  }

  _problem(text) {
    setText($("#files-problem"), text);
    $("#files-problem").hidden = !text;
  }

  _clearResult() {
    $("#result").hidden = $("#player").hidden = $("#result-tools").hidden = true;
    $("#result-text").replaceChildren();
    this.addresses.forEach((address) => URL.revokeObjectURL(address));
    this.addresses = [];
    this.text = "";
  }

  _showText(text) {
    this.text = text;
    $("#result").hidden = false;
    $("#result-text").replaceChildren(make("p", {}, text));
  }

  /** Lines with their times; a click plays from there. */
  _showSegments(segments) {
    this._showText(segments.map(({ text }) => text.trim()).join("\n"));
    const lines = segments.map(({ start, text }) => {
      const button = make("button", { type: "button", title: "Play from here" }, clock(start));
      button.addEventListener("click", () => {
        $("#player").currentTime = start;
        $("#player").play();
      });
      return make("li", {}, button, make("span", {}, text.trim()));
    });
    $("#result-text").replaceChildren(make("ol", {}, ...lines));
  }

  _play(blob) {
    const player = $("#player");
    player.src = this._address(blob);
    player.hidden = false;
    $("#result").hidden = false;
  }

  _offer(blob, name) {
    Object.assign($("#download"), { href: this._address(blob), download: name });
    $("#copy").hidden = !this.text;
    $("#result-tools").hidden = false;
  }

  _address(blob) {
    const address = URL.createObjectURL(blob);
    this.addresses.push(address);
    return address;
  }

  _drag(event) {
    event.preventDefault();
    $("#drop").classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") this.choose(event.dataTransfer.files[0]);
  }
}
