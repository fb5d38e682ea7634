// OpenAI's own client for JavaScript, unmodified, against the server at argv[2]; prints what it got as one JSON object.

import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [address, recording, packages] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${packages}/`)); // where npm put the packages
const OpenAI = require("openai").default;
const { OpenAIRealtimeWS } = require("openai/realtime/ws");
const client = new OpenAI({ baseURL: `https://${address}/v1`, apiKey: "not needed", maxRetries: 0 });
const got = {};

const transcript = await client.audio.transcriptions.create({ file: createReadStream(recording), model: "fake" });
got.transcript = transcript.text;

const speech = await client.audio.speech.create({ model: "fake", voice: "Ava", input: "one two", response_format: "pcm" });
got.speechBytes = (await speech.arrayBuffer()).byteLength;

const stream = await client.chat.completions.create({
  model: "fake",
  stream: true,
  messages: [{ role: "user", content: "what time is it?" }],
});
got.chat = "";
for await (const chunk of stream) got.chat += chunk.choices[0]?.delta?.content ?? "";

const realtime = new OpenAIRealtimeWS({ model: "fake" }, client);
got.events = [];
got.soundBytes = 0;
await new Promise((resolve, reject) => {
  const lateness = setTimeout(() => reject(new Error(`only ${got.events}`)), 30_000);
  realtime.on("error", reject);
  realtime.on("event", (event) => got.events.push(event.type));
  realtime.on("session.created", () => {
    realtime.send({
      type: "session.update",
      session: { type: "realtime", audio: { input: { turn_detection: null } } },
    });
    realtime.send({ type: "input_audio_buffer.append", audio: Buffer.alloc(48_000).toString("base64") });
    realtime.send({ type: "input_audio_buffer.commit" });
    realtime.send({ type: "response.create" });
  });
  realtime.on("response.output_audio.delta", (event) => {
    got.soundBytes += Buffer.from(event.delta, "base64").length;
  });
  realtime.on("response.done", (event) => {
    clearTimeout(lateness);
    got.said = event.response.output[0].content[0].transcript;
    realtime.close();
    resolve();
  });
});
console.log(JSON.stringify(got));
