// A chat completion, and its copy to `shadowlane run ingest`. Node 20 or newer, no packages.

const INGEST = process.env.INGEST_URL ?? "http://127.0.0.1:8017";
const TOKEN = process.env.INGEST_TOKEN ?? "";
const WAITING_MOST = 1000; // copies that wait; above it new ones are let go, and counted
const BATCH = 50;

const waiting = [];
let sending = null;
export const counts = { mirrored: 0, refused: 0, dropped: 0 };

/** Asks the model as fetch does; the answer comes back as soon as it is there, and its copy goes out behind it. */
export async function complete(url, body, { headers = {}, key = "", attributes = {} } = {}) {
  const exchange = {
    request_id: crypto.randomUUID(), // the same one with each try, so that it counts once
    service: "node-desk",
    route: "chat.completions",
    key,
    attributes,
    ts: Date.now(),
    request: body,
  };
  const started = performance.now();
  let answer, text;
  try {
    answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    text = await answer.text();
  } catch (error) {
    mirror({ ...exchange, response: { error: "connection", latency_ms: performance.now() - started } });
    throw error;
  }
  const latency_ms = performance.now() - started;
  const completion = parsed(text);
  mirror({ ...exchange, response: served(answer.status, completion, latency_ms) });
  if (!answer.ok) throw new Error(`the model said ${answer.status}`);
  return completion;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // no JSON: what is mirrored is the status
  }
}

function served(status, completion, latency_ms) {
  if (status >= 400 || !completion?.choices) return { status, latency_ms, error: status >= 400 ? "http" : "bad_response" };
  const { message, finish_reason } = completion.choices[0];
  return {
    status,
    latency_ms,
    output: message.content ?? "",
    tool_calls: message.tool_calls?.map(({ function: f }) => ({ name: f.name, arguments: f.arguments })) ?? null,
    finish_reason: finish_reason ?? "",
    model: completion.model ?? "",
    input_tokens: completion.usage?.prompt_tokens ?? null,
    output_tokens: completion.usage?.completion_tokens ?? null,
  };
}

/** Never waits, never throws. */
export function mirror(exchange) {
  if (waiting.length >= WAITING_MOST) {
    counts.dropped += 1;
    return;
  }
  waiting.push(exchange);
  sending ??= send().finally(() => (sending = null));
}

/** Until everything so far is sent, or given up. */
export async function flush() {
  while (sending) await sending;
}

async function send() {
  await null; // after the caller, and with what else it has
  while (waiting.length) {
    const batch = waiting.splice(0, BATCH);
    await post(batch);
  }
}

async function post(batch) {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    try {
      const answer = await fetch(`${INGEST}/v1/exchanges`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
        body: JSON.stringify(batch),
      });
      if (answer.status !== 429 && answer.status < 500) {
        const { taken = 0 } = await answer.json();
        counts.mirrored += taken;
        counts.refused += batch.length - taken;
        return;
      }
      await answer.arrayBuffer();
    } catch {
      // nobody listens: as with 503, once more
    }
    await new Promise((resume) => setTimeout(resume, 1000 * 2 ** attempt));
  }
  counts.dropped += batch.length;
}
