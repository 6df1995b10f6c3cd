import assert from "node:assert/strict";
import { test } from "node:test";

import { hue, initials, isOnlyEmoji, pieces } from "./text";

const links = (body: string) => pieces(body).filter((piece) => piece.href).map((piece) => piece.href);

test("addresses of the web become links, and nothing else does", () => {
  assert.deepEqual(links("see https://a.example/x?y=1#z, or (http://b.example/c_(d))."), ["https://a.example/x?y=1#z", "http://b.example/c_(d)"]);
  assert.deepEqual(links("javascript:alert(1) data:text/html,x ftp://a file:///etc https://"), []);
  assert.deepEqual(links('<a href="https://a.example">'), ["https://a.example"]);
});

test("the pieces are the whole text", () => {
  for (const body of ["", "a", "https://a.example", "x https://a.example. y", "<b>https://a.example/…</b>", "https://é.example/ü ok"]) {
    assert.equal(pieces(body).map((piece) => piece.text).join(""), body);
  }
});

test("emoji alone are shown large", () => {
  for (const body of ["👍", "👩‍👩‍👧‍👦", "🎉🎉", "❤️", "🇪🇺", "👍🏽 👍"]) assert.ok(isOnlyEmoji(body), body);
  for (const body of ["1", "ok 👍", "👍👍👍👍", "", "#"]) assert.ok(!isOnlyEmoji(body), body);
});

test("initials and colours of any name", () => {
  assert.equal(initials("ann"), "AN");
  assert.equal(initials("Ada King Lovelace"), "AL");
  assert.equal(initials("😀"), "😀");
  assert.equal(initials("   "), "?");
  const hues = Array.from({ length: 500 }, (_, n) => hue(`Person ${n}`));
  assert.deepEqual([...new Set(hues)].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
});
