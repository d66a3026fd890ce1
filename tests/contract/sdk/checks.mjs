// What the vendor's own SDK makes of the local server. run_checks.py starts the server and runs this.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { apiClientManager } from "@trigger.dev/core/v3";
import { batch, idempotencyKeys, query, runs, tasks, wait } from "@trigger.dev/sdk";

// The driver stops this process if a condition never holds.
async function until(condition) {
  for (;;) {
    const value = await condition();
    if (value) return value;
    await sleep(20);
  }
}

async function ended(runId) {
  return until(async () => {
    const run = await runs.retrieve(runId);
    return run.finishedAt && run;
  });
}

const checks = {
  "tasks.trigger: payload, output, tags, metadata": async () => {
    const payload = { n: 5, at: new Date(0), big: 12n };
    const { id } = await tasks.trigger("double", payload, { tags: ["a", "b"], metadata: { m: 1 } });
    const run = await ended(id);
    assert.equal(run.status, "COMPLETED");
    assert.equal(run.output, 10);
    // The server keeps no types: they are JSON.
    assert.deepEqual(run.payload, { n: 5, at: "1970-01-01T00:00:00.000Z", big: "12" });
    assert.deepEqual(run.tags, ["a", "b"]);
    assert.deepEqual(run.metadata, { m: 1 });
  },

  "tasks.trigger: a text, and no payload": async () => {
    const text = await tasks.trigger("echo", '{"json": 1}');
    assert.equal((await ended(text.id)).output, '{"json": 1}');
    const nothing = await ended((await tasks.trigger("echo")).id);
    assert.equal(nothing.payload, undefined);
  },

  "tasks.trigger: an idempotency key": async () => {
    const key = await idempotencyKeys.create("order-1", { scope: "global" });
    const first = await tasks.trigger("parked", {}, { idempotencyKey: key });
    assert.equal((await tasks.trigger("parked", {}, { idempotencyKey: key })).id, first.id);
    assert.equal((await runs.retrieve(first.id)).idempotencyKey, "order-1");
    await idempotencyKeys.reset("parked", key);
    assert.notEqual((await tasks.trigger("parked", {}, { idempotencyKey: key })).id, first.id);
  },

  "tasks.trigger: an unknown region is an error": async () => {
    await assert.rejects(tasks.trigger("parked", {}, { region: "moon" }), { status: 422 });
  },

  "runs.retrieve: a failed run": async () => {
    const run = await ended((await tasks.trigger("broken", {})).id);
    assert.equal(run.status, "FAILED");
    assert.equal(run.error.message, "no such file");
  },

  "listRunEvents: what a run has logged": async () => {
    const { id } = await tasks.trigger("logging", "a line");
    await ended(id);
    // The SDK itself has the call, but does not offer it.
    const { events } = await apiClientManager.clientOrThrow().listRunEvents(id);
    assert.deepEqual(events.map((event) => [event.level, event.message]), [["TRACE", "logging"], ["WARN", "a line"]]);
    assert.equal(events[1].parentId, events[0].spanId);
  },

  "runs.cancel": async () => {
    const { id } = await tasks.trigger("parked", {});
    await runs.cancel(id);
    assert.equal((await runs.retrieve(id)).status, "CANCELED");
  },

  "runs.list: several pages, by tag": async () => {
    const made = [];
    for (let number = 0; number < 5; number++) {
      made.unshift((await tasks.trigger("parked", {}, { tags: ["listed"] })).id);
    }
    const listed = [];
    for await (const run of runs.list({ tag: "listed", limit: 2 })) listed.push(run.id);
    assert.deepEqual(listed, made);
  },

  "runs.replay and runs.reschedule": async () => {
    const { id } = await tasks.trigger("double", { n: 1 }, { delay: "1h" });
    assert.equal((await runs.reschedule(id, { delay: "2h" })).status, "DELAYED");
    const again = await runs.replay(id);
    assert.equal((await ended(again.id)).output, 2);
  },

  "tasks.batchTrigger and batch.retrieve": async () => {
    const items = [1, 2, 3].map((n) => ({ payload: { n }, options: { tags: [`item-${n}`] } }));
    const { batchId, runCount } = await tasks.batchTrigger("double", items);
    assert.equal(runCount, 3);
    const made = await until(async () => {
      const shown = await batch.retrieve(batchId);
      return shown.status === "COMPLETED" && shown;
    });
    const outputs = [];
    for (const runId of made.runs) {
      const run = await runs.retrieve(runId);
      assert.equal(run.batchId, batchId);
      outputs.push(run.output);
    }
    assert.deepEqual(outputs, [2, 4, 6]);
    const listed = [];
    for await (const run of runs.list({ batch: batchId })) listed.push(run.id);
    assert.deepEqual(listed.toSorted(), made.runs.toSorted());
  },

  "tasks.batchTrigger: idempotency keys of items": async () => {
    const items = [1, 1].map(() => ({ payload: {}, options: { idempotencyKey: "item" } }));
    const { batchId } = await tasks.batchTrigger("parked", items);
    const made = await until(async () => {
      const shown = await batch.retrieve(batchId);
      return shown.runs.length > 0 && shown;
    });
    assert.equal(made.runs.length, 2);
    assert.equal(made.runs[0], made.runs[1]);
  },

  "batch.trigger: several tasks": async () => {
    const { batchId } = await batch.trigger([
      { id: "echo", payload: { a: 1 } },
      { id: "double", payload: { n: 2 } },
    ]);
    const made = await until(async () => {
      const shown = await batch.retrieve(batchId);
      return shown.status === "COMPLETED" && shown;
    });
    const shown = await Promise.all(made.runs.map((runId) => runs.retrieve(runId)));
    assert.deepEqual(shown.map((run) => run.taskIdentifier), ["echo", "double"]);
    assert.deepEqual(shown.map((run) => run.output), [{ a: 1 }, 4]);
  },

  "query.execute": async () => {
    const { id } = await tasks.trigger("parked", {});
    const { results } = await query.execute(`SELECT run_id, status FROM runs WHERE run_id IN ('${id}')`);
    assert.deepEqual(results, [{ run_id: id, status: "Queued" }]);
  },

  "runs.subscribeToRun: each change until the end": async () => {
    const { id } = await tasks.trigger("slow", { n: 2 }, { tags: ["f"], metadata: { m: 1 } });
    const seen = [];
    for await (const run of runs.subscribeToRun(id)) seen.push(run);
    assert.deepEqual([...new Set(seen.map((run) => run.status))], ["QUEUED", "EXECUTING", "COMPLETED"]);
    const { payload, output, tags, metadata } = seen.at(-1);
    assert.deepEqual({ payload, output, tags, metadata }, { payload: { n: 2 }, output: "done", tags: ["f"], metadata: { m: 1 } });
  },

  "runs.subscribeToRun: the error of a failed run": async () => {
    const { id } = await tasks.trigger("broken", {});
    let last;
    for await (const run of runs.subscribeToRun(id)) last = run;
    assert.equal(last.status, "FAILED");
    assert.equal(last.error.message, "no such file");
  },

  "runs.subscribeToRunsWithTag: runs from before and from later": async () => {
    const early = await tasks.trigger("parked", {}, { tags: ["feed", "early"] });
    const seen = new Map();
    let late;
    for await (const run of runs.subscribeToRunsWithTag(["feed"])) {
      seen.set(run.id, run.status);
      late ??= await tasks.trigger("slow", {}, { tags: ["feed"] });
      if (seen.get(late.id) === "COMPLETED") break;
    }
    assert.equal(seen.get(early.id), "QUEUED");
    assert.equal(seen.size, 2);
  },

  "runs.subscribeToBatch: all of its runs": async () => {
    const { batchId } = await tasks.batchTrigger("slow", [{ payload: 1 }, { payload: 2 }]);
    const ended = new Set();
    for await (const run of runs.subscribeToBatch(batchId)) {
      if (run.status === "COMPLETED") ended.add(run.id);
      if (ended.size === 2) break;
    }
  },

  "wait.createToken, wait.completeToken and wait.retrieveToken": async () => {
    const token = await wait.createToken({ timeout: "1h", tags: ["b", "a"], idempotencyKey: "approve-1" });
    const again = await wait.createToken({ idempotencyKey: "approve-1" });
    assert.deepEqual([again.id, token.isCached, again.isCached], [token.id, false, true]);
    const waiting = await wait.retrieveToken(token);
    assert.deepEqual([waiting.status, waiting.tags, waiting.url], ["WAITING", ["a", "b"], token.url]);
    assert.equal(waiting.timeoutAt - waiting.createdAt, 3600_000);
    await wait.completeToken(token, { approved: true });
    await wait.completeToken(token.id, { approved: false });
    const completed = await wait.retrieveToken(token.id);
    assert.deepEqual([completed.status, completed.output], ["COMPLETED", { approved: true }]);
  },

  "wait.retrieveToken: after its address, and after its time limit": async () => {
    const called = await wait.createToken();
    const body = JSON.stringify({ paid: [1, "€"] });
    assert.deepEqual(await (await fetch(called.url, { method: "POST", body })).json(), { success: true });
    assert.deepEqual((await wait.retrieveToken(called)).output, { paid: [1, "€"] });
    const late = await wait.createToken({ timeout: new Date(Date.now() + 300) });
    const shown = await until(async () => {
      const token = await wait.retrieveToken(late);
      return token.status !== "WAITING" && token;
    });
    assert.equal(shown.status, "TIMED_OUT");
    assert.match(shown.error.message, /Waitpoint timed out at 20/);
    await assert.rejects(wait.retrieveToken("waitpoint_unknown", { retry: { maxAttempts: 1 } }), { status: 500 });
  },

  "wait.listTokens: several pages, by status and tag": async () => {
    const made = [];
    for (let number = 0; number < 5; number++) made.unshift((await wait.createToken({ tags: ["listed"] })).id);
    await wait.completeToken(made[2], null);
    const listed = [];
    for await (const token of wait.listTokens({ tags: ["listed"], status: "WAITING", limit: 2 })) listed.push(token.id);
    assert.deepEqual(listed, made.toSpliced(2, 1));
  },

  "a run waits for a token": async () => {
    const token = await wait.createToken();
    const { id } = await tasks.trigger("waits", { token_id: token.id });
    await until(async () => (await runs.retrieve(id)).status === "WAITING");
    await wait.completeToken(token, { approved: true });
    assert.deepEqual((await ended(id)).output, { approved: true });
  },

  "tasks.trigger: debounce is refused at once": async () => {
    const options = { debounce: { key: "k", delay: "5s" } };
    await assert.rejects(tasks.trigger("parked", {}, options), { status: 400, message: /does not support debounc/ });
  },
};

let failures = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`passed  ${name}`);
  } catch (error) {
    failures++;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
console.log(`${Object.keys(checks).length - failures} passed, ${failures} failed`);
process.exit(failures ? 1 : 0);
