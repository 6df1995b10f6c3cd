import assert from "node:assert/strict";
import { test } from "node:test";

import { byDay, keyOf, Timeline } from "./timeline";

const record = (sender: string, id: string, at = 0) => ({ id, room: "r", sender, body: id, sent_at_ms: at });
const at = (offset: number) => ({ partition: 3, offset });
const ids = (timeline: Timeline) => timeline.entries.map((entry) => entry.record.id).join("");

test("messages stand in the order of the log, each once, however they come", () => {
  // Every order of arrival of four messages, each of which comes twice.
  const offsets = [1, 2, 3, 4];
  const orders = (rest: number[]): number[][] => (rest.length ? rest.flatMap((n) => orders(rest.filter((other) => other !== n)).map((tail) => [n, ...tail])) : [[]]);
  for (const order of orders(offsets)) {
    const timeline = new Timeline();
    const added = [...order, ...[...order].reverse()].map((n) => timeline.add(record("ann", "abcd"[n - 1]!), at(n)));
    assert.equal(ids(timeline), "abcd");
    assert.equal(added.filter(Boolean).length, 4);
  }
});

test("a retry that stands in the log twice is one message, at its first place", () => {
  const timeline = new Timeline();
  timeline.add(record("ann", "a"), at(1));
  timeline.add(record("ann", "c"), at(9));
  timeline.add(record("bob", "b"), at(5));
  assert.equal(timeline.add(record("ann", "c"), at(3)), false);
  assert.equal(ids(timeline), "acb");
  assert.equal(timeline.add(record("ann", "c"), at(7)), false);
  assert.equal(ids(timeline), "acb");
});

test("the same id of two senders is two messages", () => {
  const timeline = new Timeline();
  assert.ok(timeline.add(record("ann", "x"), at(1)));
  assert.ok(timeline.add(record("bob", "x"), at(2)));
  assert.notEqual(keyOf("a", 'b","c'), keyOf('a","b', "c"));
});

test("without positions the time orders", () => {
  const timeline = new Timeline();
  timeline.add(record("ann", "b", 20));
  timeline.add(record("ann", "a", 10));
  timeline.add(record("ann", "c", 30));
  assert.equal(ids(timeline), "abc");
});

test("trimming forgets the oldest and lets them come back", () => {
  const timeline = new Timeline();
  for (let n = 0; n < 5; n += 1) timeline.add(record("ann", String(n)), at(n));
  assert.equal(timeline.trim(2), 3);
  assert.equal(ids(timeline), "34");
  assert.ok(timeline.add(record("ann", "2"), at(2)));
  assert.equal(ids(timeline), "234");
});

test("days and groups, also when a clock goes back", () => {
  const noon = new Date(2026, 0, 2, 12).getTime();
  const item = (key: string, sender: string, when: number) => ({ key, sender, at: when });
  const day = 24 * 3_600_000;
  const items = [
    item("1", "ann", noon),
    item("2", "ann", noon + 1_000),
    item("3", "bob", noon + 2_000),
    item("4", "bob", noon + day),
    item("5", "bob", noon - day),
    item("6", "bob", noon + day + 1_000),
  ];
  const shape = byDay(items, "2").map(({ groups }) => groups.map((group) => group.entries.map((entry) => entry.key).join("")));
  assert.deepEqual(shape, [["1", "2", "3"], ["45", "6"]]);
});
