/** What can go wrong, in words: the cause and the remedy. */

/** @typedef {{title: string, remedy: string, canType?: boolean}} Problem */

/** @type {Record<string, Problem>} */
export const PROBLEMS = {
  insecure: {
    title: "No microphone at this address",
    remedy:
      "Browsers give the microphone to secure pages only. Open this page as http://localhost on the machine that runs " +
      "the server, or start the server with --ssl and open it as https.",
    canType: true,
  },
  denied: {
    title: "The microphone is blocked",
    remedy: "Allow the microphone for this page in the browser's address bar, then try again.",
    canType: true,
  },
  missing: { title: "No microphone found", remedy: "Connect one and try again.", canType: true },
  busy: {
    title: "The microphone cannot be opened",
    remedy: "Another program may be using it. Close that program and try again.",
    canType: true,
  },
  unsupported: { title: "This browser cannot talk", remedy: "It has no audio worklets. Use a current browser." },
  full: { title: "All places are taken", remedy: "The server holds as many conversations as it may. Try again in a minute." },
  lost: { title: "The connection was lost", remedy: "Start again; what you said so far is kept and goes on." },
  unreachable: { title: "The server does not answer", remedy: "See whether it is still running, then try again." },
  starting: { title: "The server is not ready", remedy: "It is starting or stopping. Try again in a moment." },
  refused: { title: "The server did not take the call", remedy: "Try again; the server's log says more." },
  key: { title: "The server wants a key", remedy: "Enter the API key in the settings and start again." },
  origin: { title: "This address may not use the server", remedy: "Open the page at the server's own address." },
  expired: { title: "The conversation has ended", remedy: "It lasted as long as it may. Start again to go on." },
  idle: { title: "The conversation has ended", remedy: "Nothing was said for a while. Start again to go on." },
  stopping: { title: "The server is stopping", remedy: "Try again in a moment." },
};

/** Return the problem of an error that `getUserMedia` raises. */
export function microphoneProblem(error) {
  const names = {
    NotAllowedError: "denied",
    SecurityError: "denied",
    NotFoundError: "missing",
    OverconstrainedError: "missing",
    NotReadableError: "busy",
    AbortError: "busy",
  };
  return names[error.name] ?? "busy";
}

/**
 * Return the problem of a WebSocket that closed, or null where that was no problem.
 * @param {number} code
 * @param {string|null} errorCode of the last error that the server told of
 * @param {boolean} wasOpen
 */
export function closeProblem(code, errorCode, wasOpen) {
  const told = {
    session_expired: "expired",
    session_idle: "idle",
    session_limit_reached: "full",
    server_busy: "full",
    server_stopping: "stopping",
    invalid_api_key: "key",
  }[errorCode];
  if (told) return told;
  if (code === 1013) return "full";
  if (code === 1001 || code === 1012) return "stopping";
  if (code === 1000) return null;
  return wasOpen ? "lost" : "refused";
}
