/** What the user has chosen, kept in the browser. */

const DEFAULTS = {
  voice: "default",
  instructions: "",
  turns: "pause", // pause, meaning, manual
  silenceMs: 500,
  eagerness: "auto",
  device: "",
  volume: 1,
};

/** @returns {typeof DEFAULTS} */
export function load() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem("settings") ?? "{}") };
  } catch {
    return { ...DEFAULTS };
  }
}

export function save(settings) {
  localStorage.setItem("settings", JSON.stringify(settings));
}

/**
 * Return a session for `session.update`.
 * @param {typeof DEFAULTS} settings
 * @param {boolean} withVoice not once it was heard: it stays then
 * @param {"audio"|"text"} modality of the replies
 */
export function sessionOf(settings, withVoice, modality) {
  const format = { type: "audio/pcm", rate: 24000 };
  return {
    type: "realtime",
    instructions: settings.instructions,
    output_modalities: [modality],
    audio: {
      input: { format, transcription: {}, turn_detection: turnDetection(settings) },
      output: { format, ...(withVoice && { voice: settings.voice }) },
    },
  };
}

function turnDetection({ turns, silenceMs, eagerness }) {
  if (turns === "manual") return null;
  if (turns === "meaning") return { type: "semantic_vad", eagerness };
  return { type: "server_vad", silence_duration_ms: Number(silenceMs) };
}
