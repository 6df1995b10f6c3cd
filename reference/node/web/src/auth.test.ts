import assert from "node:assert/strict";
import { test } from "node:test";

import { credentials, personOf, tokenOf } from "./auth";

const token = (claims: unknown) => ["{}", JSON.stringify(claims), "?"].map((part) => Buffer.from(part).toString("base64url")).join(".");

test("a token names its person, in any script", () => {
  for (const sub of ["ann", "Zoë ÿÿÿ", "علي", "🙂🙂🙂"]) {
    const signed = token({ sub, exp: 1 });
    assert.deepEqual(personOf(signed), { user: sub, token: signed });
  }
});

test("what names nobody is no token", () => {
  for (const text of ["", "a", "a.b", "a.b.c", "..", token({}), token({ sub: 7 }), token({ sub: "" }), token(null)]) {
    assert.equal(personOf(text), undefined, text);
  }
});

test("a token comes by the address, a room does too", () => {
  assert.equal(tokenOf("#token=a.b-c_d.e"), "a.b-c_d.e");
  for (const fragment of ["", "#/lobby", "#/token=a", "#token=", "#token=a b"]) assert.equal(tokenOf(fragment), undefined, fragment);
});

test("who has a token gives that, and nothing else", () => {
  assert.deepEqual(credentials({ user: "ann", token: "t" }), { token: "t" });
  assert.deepEqual(credentials({ user: "ann" }), { user: "ann" });
});
