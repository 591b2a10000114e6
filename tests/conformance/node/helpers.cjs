// Runs one helper of the official SDK for three turns against the server at the address given, and prints the bodies of
// its requests, the paths that the answers call ignored, and what the helper read from the answers, as one JSON object.
// usage: node helpers.cjs HELPER BASE_URL

const { default: OpenAI } = require("openai");
const { zodFunction, zodResponseFormat } = require("openai/helpers/zod");
const { z } = require("zod");

const TURNS = 3;
const MODEL = "scripted";
const Place = z.object({ city: z.string() });
const [helper, baseURL] = process.argv.slice(2);
const bodies = [];
const ignored = [];

async function recordingFetch(url, init) {
  bodies.push(JSON.parse(init.body));
  const response = await fetch(url, init);
  ignored.push(response.headers.get("x-antiphon-ignored"));
  return response;
}

const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0, fetch: recordingFetch });
const completions = client.chat.completions;
const find = zodFunction({ name: "find", parameters: Place, function: ({ city }) => `${city} is here` });

const parsed = (request) => completions.parse(request);
const streamed = (request) => completions.stream(request).finalChatCompletion();

async function structured(answer) {
  const messages = [{ role: "user", content: "Where?" }];
  const read = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    const completion = await answer({ model: MODEL, messages, response_format: zodResponseFormat(Place, "place") });
    const { message } = completion.choices[0];
    read.push(message.parsed);
    messages.push(message, { role: "user", content: "And then?" });
  }
  return read;
}

async function called(answer) {
  const messages = [{ role: "user", content: "Where?" }];
  const read = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    const completion = await answer({ model: MODEL, messages, tools: [find] });
    const { message } = completion.choices[0];
    messages.push(message);
    for (const call of message.tool_calls) {
      read.push(call.function.parsed_arguments);
      messages.push({ role: "tool", tool_call_id: call.id, name: "find", content: "here" });
    }
  }
  return read;
}

async function ran(stream) {
  const messages = [{ role: "user", content: "Where?" }];
  const runner = completions.runTools({ model: MODEL, messages, tools: [find], stream });
  return [await runner.finalContent()];
}

const HELPERS = {
  "parse a format": () => structured(parsed),
  "stream a format": () => structured(streamed),
  "parse calls": () => called(parsed),
  "stream calls": () => called(streamed),
  "run tools": () => ran(false),
  "run tools in a stream": () => ran(true),
};

HELPERS[helper]().then((read) => console.log(JSON.stringify({ bodies, ignored, read })));
