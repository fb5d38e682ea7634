/** The WebSocket to `/v1/realtime`: events in both directions, and why it could not be opened or ended. */

import { ServerError, ask, askJson, getKey } from "./http.js";
import { closeProblem } from "./problems.js";

const OPEN_WITHIN_MS = 15000;

export class Connection {
  /**
   * @param {(event: object) => void} onEvent
   * @param {(problem: string|null) => void} onEnd is called once, after `open` has succeeded
   * @param {(direction: "in"|"out", event: object) => void} onTraffic sees all events of both sides
   */
  constructor(onEvent, onEnd, onTraffic) {
    Object.assign(this, { onEvent, onEnd, onTraffic });
    this.socket = null;
    this.errorCode = null; // of the last error: it tells why the server closes
  }

  /** Connect, and wait until the session is there. @throws {ConnectionProblem} */
  async open() {
    const protocols = ["realtime"];
    if (getKey()) protocols.push(`openai-insecure-api-key.${await clientSecret()}`);
    const address = new URL("/v1/realtime", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, protocols);
    this.socket = socket;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => socket.close(), OPEN_WITHIN_MS);
      let isThere = false;
      socket.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        this.onTraffic("in", event);
        if (event.type === "error") this.errorCode = event.error?.code ?? null;
        if (event.type === "session.created") {
          clearTimeout(timer);
          isThere = true;
          resolve();
        }
        this.onEvent(event);
      };
      socket.onclose = async ({ code }) => {
        clearTimeout(timer);
        const problem = closeProblem(code, this.errorCode, isThere) ?? (isThere ? null : "refused");
        if (isThere) this.onEnd(problem);
        else reject(new ConnectionProblem(["refused", "full"].includes(problem) ? await reasonOfRefusal() : problem));
      };
    });
  }

  /** Send an event, if the connection is still there. */
  send(event) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.onTraffic("out", event);
    this.socket.send(JSON.stringify(event));
  }

  /** Hang up; nothing is called afterwards. */
  close() {
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
  }
}

/** Why there is no connection; see problems.js. */
export class ConnectionProblem extends Error {
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** The key itself stays out of WebSockets: a secret that lives for minutes stands for it. */
async function clientSecret() {
  try {
    return (await (await askJson("/v1/realtime/client_secrets", {})).json()).value;
  } catch (error) {
    throw new ConnectionProblem(problemOf(error));
  }
}

/** A browser does not tell why a WebSocket was refused, so ask in another way. */
async function reasonOfRefusal() {
  try {
    await ask("/readyz");
    await ask("/v1/models");
  } catch (error) {
    return problemOf(error);
  }
  return "full"; // all is well, but for one more conversation
}

function problemOf(error) {
  if (!(error instanceof ServerError)) return "refused";
  if (error.status === 0) return "unreachable";
  if (error.status === 401) return "key";
  if (error.status === 403) return "origin";
  return error.status === 429 ? "full" : error.status === 503 ? "starting" : "refused";
}
