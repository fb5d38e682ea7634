/** The server's HTTP routes: one place for the key and for errors. */

/** An error whose message is for the user. */
export class ServerError extends Error {
  /** @param {string} message @param {number} status @param {string|null} code */
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let key = sessionStorage.getItem("key") ?? ""; // gone when the tab is closed

export function getKey() {
  return key;
}

export function setKey(value) {
  key = value.trim();
  if (key) sessionStorage.setItem("key", key);
  else sessionStorage.removeItem("key");
}

/**
 * Ask the server; what is no success is raised.
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer.", 0, "unreachable");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? `The server answered with status ${response.status}.`;
  throw new ServerError(message, response.status, body.error?.code ?? null);
}

/** @param {string} path @param {object} body @param {AbortSignal} [signal] */
export function askJson(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Yield the objects of server-sent events; the last line, "[DONE]", is left out. @param {Response} response */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:") || line.includes("[DONE]")) continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new ServerError(event.error.message, 500, event.error.code ?? null);
      yield event;
    }
    if (done) return;
  }
}

/** Return the paths that this server answers, such as "/v1/audio/speech". @returns {Promise<Set<string>>} */
export async function routes() {
  const schema = await (await ask("/openapi.json")).json();
  return new Set(Object.keys(schema.paths));
}

/** Return the model: its id and its voices. */
export async function model() {
  const { data } = await (await ask("/v1/models")).json();
  return { id: data[0].id, voices: data[0].voices ?? ["default"] };
}
