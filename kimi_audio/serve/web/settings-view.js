/** The dialog with the settings. */

import { $, make, setText } from "./dom.js";
import { getKey, model, setKey } from "./http.js";
import { load, save } from "./settings.js";

export class SettingsView {
  /** @param {() => void} onChange @param {() => boolean} hasSpoken whether the voice stays until the next conversation */
  constructor(onChange, hasSpoken) {
    this.values = load();
    this.hasSpoken = hasSpoken;
    this.form = $("#settings form");
    $("#open-settings").addEventListener("click", () => this.open());
    $("#settings").addEventListener("click", ({ target }) => target === $("#settings") && $("#settings").close());
    this.form.addEventListener("input", () => this._show());
    this.form.addEventListener("change", ({ target }) => {
      if (target.name === "key") {
        setKey(target.value);
        this._listVoices();
        return;
      }
      this._take();
      if (target.name === "voice" && this.hasSpoken()) setText($("#settings-note"), "The voice changes with the next conversation.");
      if (target.name === "device") setText($("#settings-note"), "The microphone changes with the next conversation.");
      onChange();
    });
  }

  async open() {
    setText($("#settings-note"), "");
    this._fill();
    $("#settings").showModal();
    await Promise.all([this._listVoices(), this._listDevices()]);
  }

  _fill() {
    for (const [name, value] of Object.entries(this.values)) {
      this.form.elements[name].value = value;
    }
    this.form.elements.key.value = getKey();
    this._show();
  }

  _take() {
    for (const name of Object.keys(this.values)) this.values[name] = this.form.elements[name].value;
    this.values.volume = Number(this.values.volume);
    this.values.silenceMs = Number(this.values.silenceMs);
    save(this.values);
  }

  _show() {
    const { turns, silenceMs } = this.form.elements;
    setText($("#silence-value"), `${silenceMs.value} ms`);
    for (const part of this.form.querySelectorAll("[data-turns]")) part.hidden = part.dataset.turns !== turns.value;
  }

  async _listVoices() {
    try {
      const { voices } = await model();
      const known = voices.includes(this.values.voice) ? voices : [this.values.voice, ...voices];
      const options = known.map((name) => make("option", { value: name }, name === "default" ? "The model's own" : name));
      this.form.elements.voice.replaceChildren(...options);
      this.form.elements.voice.value = this.values.voice;
    } catch (error) {
      setText($("#settings-note"), error.message);
    }
  }

  async _listDevices() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const named = devices.filter((one) => one.kind === "audioinput" && one.label && one.deviceId !== "default");
    const options = named.map((one) => make("option", { value: one.deviceId }, one.label));
    this.form.elements.device.replaceChildren(make("option", { value: "" }, "The system's"), ...options);
    this.form.elements.device.value = named.some((one) => one.deviceId === this.values.device) ? this.values.device : "";
  }
}
