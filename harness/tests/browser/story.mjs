// The chat page in real Chromium, while the cluster below it is broken and mended.
//
//   node story.mjs FOLDER http://NODE-1 http://NODE-2
//
// What happens to the cluster is asked for on stdout, one line each (`do stop kafka`), and done when `done` comes back on
// stdin. Pictures go to FOLDER. Exits 0 when nothing was lost or doubled on any screen, and the page said what was going on.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";

import { NARROW, PATIENCE, Person, WIDE } from "./person.mjs";

const [folder, first, second] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const began = Date.now();
const step = (text) => console.log(`step ${((Date.now() - began) / 1000).toFixed(1)} s: ${text}`);
async function please(act) {
  console.log(`do ${act}`);
  const { value } = await answers.next();
  assert.equal(value, "done", `${act}: ${value}`);
}

/** Everything that was said, in no order. */
const said = [];
async function says(person, text, listeners = []) {
  said.push(text);
  await person.write(text);
  for (const listener of listeners) await listener.sees(text);
}

const INJECTION = `<img src=x onerror="window.pwned=1"> <script>window.pwned=1</script> "><svg onload=alert(1)> {{7*7}} javascript:alert(1)`;

async function talk(ann, bob) {
  await ann.accessible("sign-in");
  await ann.signIn();
  await ann.page.waitForSelector(".beginning:has-text('Nothing has been said')");
  await ann.picture("empty");
  await bob.signIn();
  assert.match(await ann.page.textContent(".pill"), /node-1/);
  assert.match(await bob.page.textContent(".pill"), /node-2/);
  await ann.page.waitForSelector(".people li:has-text('Bob Meyer')");
  await says(ann, "Good morning! Did the release go out last night?", [bob]);
  await says(bob, "It did, all green. Notes: https://chat.example/notes/42?full=yes#top (worth a read).", [ann]);
  await says(bob, "👍🎉", [ann]);
  await says(bob, INJECTION, [ann]);
  await says(bob, "صباح الخير، كيف حالك اليوم؟", [ann]);
  await says(bob, `A long word: ${"squall".repeat(40)}`, [ann]);
  await says(ann, "Two lines,\nand a smile 🙂", [bob]);
  await ann.sees("Two lines,\nand a smile 🙂", "sent");

  for (const person of [ann, bob]) {
    assert.equal(await person.page.evaluate(() => window.pwned), undefined);
    assert.equal(await person.page.locator(".messages :is(img, script, .bubble svg:not(.icon))").count(), 0);
    const links = await person.page.$$eval(".bubble a", (all) => all.map(({ href, rel, target }) => ({ href, rel, target })));
    assert.deepEqual(links, [{ href: "https://chat.example/notes/42?full=yes#top", rel: "noopener noreferrer nofollow", target: "_blank" }]);
    const sideways = await person.page.evaluate(() => document.querySelector(".scroller").scrollWidth - document.querySelector(".scroller").clientWidth);
    assert.equal(sideways, 0, "a long word makes the room wider");
  }
  await bob.page.locator("#text").pressSequentially("hm");
  await ann.page.waitForSelector(".typing:has-text('Bob Meyer is typing')");
  await ann.accessible("live");
  await ann.page.setViewportSize(NARROW);
  await ann.page.click(".back");
  await ann.accessible("rooms");
  await ann.page.setViewportSize(NARROW);
  await ann.page.click(".rooms a");
  await ann.page.setViewportSize(WIDE);
  await bob.page.fill("#text", "");
  step("two people on two nodes talk");
}

/** Several tabs of one person, a second room, and what has not been read in it. */
async function tabs(ann, bob) {
  await ann.page.fill("#room", "ops");
  await ann.page.keyboard.press("Enter");
  await ann.state("live");
  await ann.page.waitForSelector(".beginning:has-text('Nothing has been said')");
  const there = ann.page;
  await ann.newTab();
  await ann.state("live");
  assert.match(await ann.page.textContent(".me .who"), /ann/, "a new tab knows the name");
  await says(ann, "from the second tab", [bob]);
  await there.waitForSelector(".rooms .badge, .rooms .last:has-text('from the second tab')");
  await ann.page.close();
  ann.page = there;
  await says(bob, "not read yet", []);
  await ann.page.waitForSelector(".rooms a:has-text('lobby') .badge:has-text('1')");
  await ann.page.click(".rooms a:has-text('lobby')");
  await ann.page.waitForSelector(".marker");
  await ann.picture("unread");
  step("several tabs, two rooms");
}

/** Reading back loads older messages, and what is in sight does not move. */
async function history(ann, bob) {
  for (let n = 1; n <= 130; n += 1) {
    said.push(`line ${n}`);
    await bob.write(`line ${n}`);
  }
  await ann.sees("line 130");
  await bob.sees("line 130", "sent");
  await please(`store lobby ${said.length}`);
  await ann.page.reload();
  await ann.state("live");
  await ann.sees("line 130");
  const before = (await ann.lines()).length;
  assert.ok(before < 100, `a page and not everything: ${before}`);
  // To the top, where a page begins to load: the first message in sight must be where it was.
  const moved = await ann.page.evaluate(async () => {
    const view = document.querySelector(".scroller");
    const rows = () => [...view.querySelectorAll("li[data-key]")];
    view.scrollTop = 120;
    const row = rows().find((one) => one.getBoundingClientRect().top > view.getBoundingClientRect().top);
    const [top, count] = [row.getBoundingClientRect().top, rows().length];
    for (;;) {
      await new Promise(requestAnimationFrame);
      if (Math.abs(row.getBoundingClientRect().top - top) > 1) return row.getBoundingClientRect().top - top;
      if (rows().length > count) break;
    }
    await new Promise(requestAnimationFrame);
    return row.getBoundingClientRect().top - top;
  });
  assert.ok(Math.abs(moved) <= 1, `what was in sight moved by ${moved} pixels`);
  await says(bob, "are you there?");
  await ann.page.waitForSelector(".jump:has-text('1 new')");
  await ann.picture("reading-back");
  await ann.page.click(".jump");
  await ann.page.waitForSelector(".marker");
  await ann.sees("are you there?");
  await ann.page.waitForSelector(".jump", { state: "detached" });
  step("reading back");
}

async function nodeAway(ann, bob) {
  await please("kill node-1");
  await ann.state("offline");
  await ann.told("node-1 does not answer");
  await says(ann, "written while my node was away");
  await ann.sees("written while my node was away", "waiting");
  await ann.accessible("offline");
  for (const n of [1, 2, 3]) await says(bob, `while ann was away ${n}`);
  await bob.sees("while ann was away 3", "sent");
  await please("start node-1");
  await ann.state("live");
  await ann.toldNothing();
  await ann.sees("written while my node was away", "sent");
  for (const n of [1, 2, 3]) await ann.sees(`while ann was away ${n}`);
  await ann.page.waitForSelector(".marker");
  await bob.sees("written while my node was away");
  await ann.picture("caught-up");
  step("a node was killed and started");
}

async function redisAway(ann, bob) {
  await please("stop redis");
  await ann.told("Redis is away");
  await says(ann, "no Redis", [bob]);
  await says(bob, "it still arrives", [ann]);
  await ann.accessible("redis-away");
  await please("start redis");
  await ann.toldNothing();
  await says(ann, "Redis is back", [bob]);
  step("Redis was away");
}

async function postgresAway(ann, bob, eve) {
  await please("stop postgres");
  await ann.told("PostgreSQL is away");
  await says(ann, "no PostgreSQL", [bob]);
  await says(bob, "talking works", [ann]);
  // Who comes now has what the log has kept lately, and is told about the rest.
  await eve.page.fill("#name", eve.name);
  await eve.page.keyboard.press("Enter");
  await eve.sees("talking works");
  await eve.page.evaluate(() => (document.querySelector(".scroller").scrollTop = 0));
  await eve.page.waitForSelector(".beginning:has-text('cannot be loaded')");
  await eve.accessible("postgres-away");
  await please("start postgres");
  await ann.toldNothing();
  await eve.toldNothing();
  await eve.readAll();
  step("PostgreSQL was away");
}

async function kafkaAway(ann, bob) {
  await please("stop kafka");
  await ann.told("Kafka is away");
  await says(ann, "no Kafka");
  await says(ann, "and a second one");
  await ann.page.waitForSelector(".why:has-text('It is tried again')");
  await ann.sees("no Kafka", "waiting");
  await ann.accessible("kafka-away");
  // A reload keeps what has not been sent.
  await ann.page.reload();
  await ann.sees("no Kafka", "waiting");
  await ann.sees("and a second one", "waiting");
  await ann.picture("kept-over-a-reload");
  await please("start kafka");
  await ann.sees("no Kafka", "sent");
  await ann.sees("and a second one", "sent");
  await ann.toldNothing();
  await ann.state("live");
  await bob.sees("and a second one");
  step("Kafka was away, and the page was loaded again meanwhile");
}

async function refused(ann) {
  await ann.page.evaluate(() => {
    const tab = JSON.parse(sessionStorage.getItem("squall.tab"));
    const item = { id: "bad", room: "lobby", body: "a NUL: \u0000", at: Date.now(), tab, state: "waiting" };
    localStorage.setItem("squall.unsent.ann.bad", JSON.stringify(item));
  });
  await ann.page.reload();
  await ann.page.waitForSelector(".why.failed:has-text('U+0000')");
  await ann.accessible("failed");
  await ann.page.click(".why.failed button:has-text('Delete')");
  await ann.page.waitForSelector(".why.failed", { state: "detached" });
  step("a message that no log takes");
}

const [ann, bob, cam, eve] = await Promise.all([
  Person.arrive("ann", first, folder),
  Person.arrive("Bob Meyer", second, folder),
  Person.arrive("cam", second, folder),
  Person.arrive("eve", first, folder),
]);
const everybody = [ann, bob, cam, eve];
try {
  await talk(ann, bob);
  await tabs(ann, bob);
  await history(ann, bob);
  await cam.signIn();
  await bob.page.waitForSelector(".people li:has-text('cam')");
  // Until its node has given it up, which takes three quarters of a minute of silence.
  cam.sleep();
  await nodeAway(ann, bob);
  await redisAway(ann, bob);
  await postgresAway(ann, bob, eve);
  await kafkaAway(ann, bob);
  await refused(ann);
  await bob.page.waitForSelector(".people li:has-text('cam')", { state: "detached", timeout: 2 * PATIENCE });
  await says(bob, "cam is asleep", [ann, eve]);
  cam.wake();
  await cam.sees("cam is asleep");
  await cam.state("live");
  await cam.picture("awake-again");
  step("a laptop slept");

  await please(`store lobby ${said.length}`);
  const lists = [];
  for (const person of everybody) lists.push([person, await person.readAll()]);
  for (const [{ name }, lines] of lists) {
    const texts = lines.map((line) => line.text);
    assert.deepEqual([...texts].sort(), [...said].sort(), `${name} has lost or doubled something`);
    assert.deepEqual(lines.map((line) => line.key), lists[0][1].map((line) => line.key), `${name} has another order than ann`);
    assert.ok(lines.every((line) => !line.state || line.state === "sent"));
  }
  for (const { name, complaints } of everybody) assert.deepEqual(complaints, [], name);
  console.log(`told ${said.length} messages on ${everybody.length} screens`);
} catch (error) {
  cam.wake();
  for (const person of everybody) await person.page.screenshot({ path: `${folder}/failed-${person.name}.png`, timeout: 5_000 }).catch(() => {});
  console.error(error);
  process.exitCode = 1;
} finally {
  for (const person of everybody) await person.leave();
  process.exit();
}
