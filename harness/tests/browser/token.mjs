// Signing in to a node that believes tokens only, in real Chromium.
//
//   node token.mjs FOLDER http://NODE
//
// Reads proofs from the environment: TOKEN (of "Ann Ó"), EXPIRED, FORGED. Pictures go to FOLDER.
import assert from "node:assert/strict";

import { Person } from "./person.mjs";

const [folder, url] = process.argv.slice(2);
const { TOKEN, EXPIRED, FORGED } = process.env;
const ann = await Person.arrive("Ann Ó", url, folder);

async function refused(text, why) {
  await ann.page.fill("#token", text);
  await ann.page.keyboard.press("Enter");
  await ann.page.waitForSelector(`[role=alert]:has-text(${JSON.stringify(why)})`);
}

async function isIn() {
  await ann.state("live");
  assert.equal(await ann.page.textContent(".me .who"), "Ann Ó");
}

try {
  await ann.page.waitForSelector("#token");
  await ann.accessible("token");
  await refused("", "paste a token");
  await refused("hunter2", "not a sign-in token");
  await refused(FORGED, "not signed by a key of this cluster");
  await refused(EXPIRED, "expired");
  await ann.accessible("token-expired");

  await ann.page.fill("#token", TOKEN);
  await ann.page.keyboard.press("Enter");
  await isIn();
  await ann.write("who I am is signed");
  await ann.sees("who I am is signed", "sent");
  await ann.page.reload();
  await isIn();
  await ann.sees("who I am is signed", "sent");
  await ann.page.click("text=Sign out");
  await ann.page.waitForSelector("#token");
  const left = () => ann.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!(await left()).includes(TOKEN), "a token stays after signing out");
  await ann.page.reload();
  await ann.page.waitForSelector("#token");

  // As whoever signs tokens sends people here.
  await ann.page.goto("about:blank");
  await ann.page.goto(`${url}/#token=${TOKEN}`);
  await isIn();
  assert.ok(!ann.page.url().includes("token"), ann.page.url());
  await ann.page.goBack();
  assert.equal(ann.page.url(), "about:blank", "the token is in the browser's history");
  assert.deepEqual(ann.complaints, []);
  console.log("told");
} finally {
  await ann.leave();
}
