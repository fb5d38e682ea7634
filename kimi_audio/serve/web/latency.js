/** How long a reply took, from the end of speech to its first sound, and the parts of that time. */

/**
 * @param {Record<string, string>|null} metadata of `response.done`: what the server measured
 * @param {number|null} playoutMs from the arrival of the first sound to its playing, as the page measured
 * @returns {{name: string, title: string, ms: number}[]} parts in their order; empty where nothing was measured
 */
export function partsOf(metadata, playoutMs) {
  const silenceMs = number(metadata?.end_of_speech_to_commit_ms);
  const totalMs = number(metadata?.end_of_speech_to_first_sound_ms);
  const fromCreationMs = number(metadata?.created_to_first_sound_ms);
  const textMs = number(metadata?.created_to_first_text_ms);
  const parts = [];
  const serverMs = totalMs === null ? fromCreationMs : totalMs - (silenceMs ?? 0);
  if (serverMs === null) return parts;
  if (silenceMs !== null) parts.push({ name: "silence", title: "your pause", ms: silenceMs });
  if (textMs !== null && textMs < serverMs) {
    const untilText = Math.max(0, serverMs - (fromCreationMs ?? serverMs)) + textMs;
    parts.push({ name: "text", title: "first word", ms: Math.min(untilText, serverMs) });
    parts.push({ name: "sound", title: "first sound", ms: serverMs - Math.min(untilText, serverMs) });
  } else {
    parts.push({ name: "sound", title: "first sound", ms: serverMs });
  }
  if (playoutMs !== null) parts.push({ name: "playout", title: "playback", ms: Math.round(playoutMs) });
  return parts;
}

/** Return the sum of all parts. */
export function totalMs(parts) {
  return parts.reduce((sum, part) => sum + part.ms, 0);
}

function number(text) {
  return text === undefined || text === null || Number.isNaN(Number(text)) ? null : Math.max(0, Number(text));
}
