/** What the conversation is doing, as a pure function of what has happened. */

/** @typedef {"idle"|"connecting"|"listening"|"hearing"|"thinking"|"speaking"|"error"} Phase */

export const BEGINNING = Object.freeze({
  connection: "off", // off, connecting, on
  userSpeaks: false, // as the server hears
  isHeld: false, // the key or button to speak
  isAwaited: false, // a reply
  response: null, // id of the one that is being made
  isPlaying: false,
  problem: null, // see problems.js
});

/**
 * @param {typeof BEGINNING} state
 * @param {{type: string, [field: string]: any}} event of the server, or one of the page's own: start, connected, ended,
 *   problem, asked, talking, playing
 */
export function next(state, event) {
  switch (event.type) {
    case "start":
      return { ...BEGINNING, connection: "connecting" };
    case "connected":
      return { ...state, connection: "on" };
    case "ended":
      return { ...BEGINNING, problem: event.problem ?? null };
    case "talking": // a key or a button is held
      return { ...state, isHeld: event.isHeld, isAwaited: false };
    case "input_audio_buffer.speech_started":
      return { ...state, userSpeaks: true, isAwaited: false };
    case "input_audio_buffer.cleared":
      return { ...state, userSpeaks: false };
    case "input_audio_buffer.speech_stopped":
    case "input_audio_buffer.committed":
    case "asked":
      return { ...state, userSpeaks: false, isHeld: false, isAwaited: true };
    case "response.created":
      return { ...state, isAwaited: true, response: event.response.id };
    case "response.done":
      return { ...state, isAwaited: false, response: null };
    case "playing":
      return { ...state, isPlaying: event.isPlaying };
    case "error":
      return { ...state, isAwaited: state.response !== null };
    default:
      return state;
  }
}

/** @returns {Phase} */
export function phaseOf(state) {
  if (state.problem) return "error";
  if (state.connection === "off") return "idle";
  if (state.connection === "connecting") return "connecting";
  if (state.userSpeaks || state.isHeld) return "hearing";
  if (state.isPlaying) return "speaking";
  return state.isAwaited ? "thinking" : "listening";
}
