/** What both sides say, in order, as a pure function of the server's events. */

/**
 * @typedef {Object} Entry
 * @property {string} id of the item
 * @property {"user"|"assistant"|"note"} role
 * @property {string} text
 * @property {boolean} isFinal
 * @property {boolean} isCut whether it was interrupted
 */

const HEARD = "conversation.item.input_audio_transcription.";

/** @param {Entry[]} entries @returns {Entry[]} the same list where nothing changed; entries that change are new objects */
export function next(entries, event) {
  switch (event.type) {
    case "input_audio_buffer.speech_started":
      return put(entries, event.item_id, { role: "user" });
    case "input_audio_buffer.cleared":
      return entries.filter((entry) => entry.role !== "user" || entry.isFinal || entry.isKept);
    case "conversation.item.added":
      return added(entries, event.item, event.previous_item_id);
    case "conversation.item.deleted":
      return entries.filter((entry) => entry.id !== event.item_id);
    case HEARD + "delta":
      return append(entries, event.item_id, event.delta, "user");
    case HEARD + "completed":
      return put(entries, event.item_id, { role: "user", text: event.transcript, isFinal: true });
    case HEARD + "failed":
      return put(entries, event.item_id, { role: "user", text: "(could not be written down)", isFinal: true });
    case "response.output_audio_transcript.delta":
    case "response.output_text.delta":
      return append(entries, event.item_id, event.delta, "assistant");
    case "response.output_audio_transcript.done":
      return put(entries, event.item_id, { role: "assistant", text: event.transcript });
    case "response.output_text.done":
      return put(entries, event.item_id, { role: "assistant", text: event.text });
    case "response.done":
      return responseDone(entries, event.response);
    case "conversation.item.truncated":
      return put(entries, event.item_id, { role: "assistant", isFinal: true, isCut: true });
    case "conversation.item.retrieved":
      return put(entries, event.item.id, { role: event.item.role, text: textOf(event.item) });
    case "note":
      return [...entries, entry(`note-${entries.length}`, { role: "note", text: event.text, isFinal: true })];
    default:
      return entries;
  }
}

function added(entries, item, previousId) {
  if (item.type !== "message" || item.role === "system") return entries;
  const text = textOf(item);
  const isTyped = item.role === "user" && text !== "";
  return put(entries, item.id, { role: item.role, isKept: true, ...(isTyped && { text, isFinal: true }) }, previousId);
}

function responseDone(entries, response) {
  for (const item of response.output) {
    if (item.type !== "message") continue;
    const isCut = response.status === "cancelled";
    entries = put(entries, item.id, { role: "assistant", isFinal: true, ...(isCut && { isCut }) });
  }
  const problem = response.status_details?.error?.message;
  return problem ? next(entries, { type: "note", text: problem }) : entries;
}

function append(entries, id, text, role) {
  const before = entries.find((one) => one.id === id);
  return put(entries, id, { role, text: (before?.text ?? "") + text });
}

/** Change an entry, or make it: behind another one, or at the end. */
function put(entries, id, changes, previousId) {
  const place = entries.findIndex((one) => one.id === id);
  if (place >= 0) {
    return entries.map((one, index) => (index === place ? { ...one, ...changes } : one));
  }
  const previous = entries.findIndex((one) => one.id === previousId);
  const made = entry(id, changes);
  return previous < 0 ? [...entries, made] : [...entries.slice(0, previous + 1), made, ...entries.slice(previous + 1)];
}

function entry(id, values) {
  return { id, text: "", isFinal: false, isCut: false, isKept: false, ...values };
}

/** Return the words of an item. */
export function textOf(item) {
  return (item.content ?? []).map((part) => part.text ?? part.transcript ?? "").join(" ").trim();
}
