/** Puts the page together: what the user does, and what is shown. */

import { Conversation } from "./conversation.js";
import { Developer } from "./developer.js";
import { $, tabs } from "./dom.js";
import { Files } from "./files.js";
import { Orb } from "./orb.js";
import { SettingsView } from "./settings-view.js";
import { TalkView } from "./talk-view.js";

const developer = new Developer();
const settings = new SettingsView(
  () => conversation.apply(),
  () => conversation.hasSpoken,
);
const conversation = new Conversation(
  () => settings.values,
  () => requestShow(),
  (direction, event) => developer.note(direction, event),
);
const view = new TalkView(conversation);
const files = new Files();
new Orb($("#orb canvas"), () => conversation);

let isRequested = false;
let shownTurns = conversation.turns;

/** Show the conversation once, however much has changed until then. */
function requestShow() {
  if (isRequested) return;
  isRequested = true;
  queueMicrotask(() => {
    isRequested = false;
    view.show();
    if (conversation.turns !== shownTurns) developer.showTurns((shownTurns = conversation.turns));
  });
}

setInterval(() => conversation.isOn && view.showLevel(), 50);

// ---------------------------------------------------------------------------------------------------------------------
// What the user does

/** Whether the orb is a button to hold at the moment. */
function isToHold() {
  return conversation.isOn && conversation.isByHand && Boolean(conversation.microphone);
}

$("#orb").addEventListener("click", () => {
  if (conversation.phase === "idle" || conversation.phase === "error") conversation.start();
  else if (!isToHold() && ["speaking", "thinking"].includes(conversation.phase)) conversation.interrupt();
});
$("#orb").addEventListener("pointerdown", (event) => {
  if (!isToHold()) return;
  $("#orb").setPointerCapture(event.pointerId);
  conversation.hold(true);
});
for (const name of ["pointerup", "pointercancel"]) $("#orb").addEventListener(name, () => conversation.hold(false));
$("#orb").addEventListener("contextmenu", (event) => isToHold() && event.preventDefault());

document.addEventListener("keydown", (event) => {
  if (event.code !== "Space" || !isToHold() || isTyping(event.target)) return;
  event.preventDefault(); // a focused button would be pressed
  if (!event.repeat) conversation.hold(true);
});
document.addEventListener("keyup", (event) => {
  if (event.code !== "Space" || !conversation.isHeld) return;
  event.preventDefault();
  conversation.hold(false);
});
window.addEventListener("blur", () => conversation.hold(false));

function isTyping(element) {
  return element.matches("input, textarea, select") || element.closest("dialog, summary, #developer");
}

$("#retry").addEventListener("click", () => conversation.start());
$("#write-instead").addEventListener("click", async () => {
  await conversation.start({ withMicrophone: false });
  $("#text").focus();
});
$("#mute").addEventListener("click", () => conversation.toggleMute());
$("#hang-up").addEventListener("click", () => {
  conversation.hangUp();
  $("#orb").focus();
});
$("#composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  if (!text) return;
  $("#text").value = "";
  if (!(await conversation.type(text))) $("#text").value ||= text;
});
window.addEventListener("pagehide", () => conversation.hangUp());

tabs($(".tabs"), (name) => name === "files" && files.prepare());
view.show();
