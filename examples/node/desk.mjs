// node desk.mjs "a question" …: asks the model at MODEL_URL, prints the answers, and what became of the copies.

import { complete, counts, flush } from "./mirror.mjs";

try {
  for (const question of process.argv.slice(2)) {
    const completion = await complete(
      `${process.env.MODEL_URL}/chat/completions`,
      { model: process.env.MODEL ?? "gpt-4o", messages: [{ role: "user", content: question }] },
      { key: "session-1", attributes: { language: "en" } },
    );
    console.log(completion.choices[0].message.content);
  }
} finally {
  await flush(); // an error ends the process: the copies go out before
  console.error(JSON.stringify(counts));
}
