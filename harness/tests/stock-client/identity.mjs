// Ids belong to their senders: two people use one id in one room, and both messages arrive and are stored. One's own id again
// is the same message, or, with another body, is refused by name. Exits 0 only when all of it was so.
//
//   node identity.mjs http://127.0.0.1:A http://127.0.0.1:B
import { io } from "socket.io-client";

const [first, second] = process.argv.slice(2);
const room = `ids-${process.pid}`;
const deadlineMs = 30_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};

async function client(url, user) {
  const socket = io(url, { auth: { user }, transports: ["websocket"], reconnection: false, forceNew: true });
  const seen = [];
  socket.on("message", ({ record }) => seen.push(`${record.sender} ${record.id} ${record.body}`));
  await new Promise((resolve) => socket.once("connect", resolve));
  const ask = (verb, payload) => socket.timeout(10_000).emitWithAck(verb, payload);
  if (!(await ask("join", { room })).ok) fail("cannot join");
  return { socket, seen, send: (id, body) => ask("send", { room, id, body }), history: () => ask("history", { room }) };
}
const expect = (what, got, wanted) => got === wanted || fail(`${what}: ${got}, expected ${wanted}`);
const code = (reply) => (reply.ok ? "ok" : reply.error.code);
const until = async (what, fact) => {
  for (let last; (last = await fact()) !== true; ) {
    console.error(`waits for ${what}: ${last}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

const ann = await client(first, "ann");
const bob = await client(second, "bob");
expect("ann's", code(await ann.send("1", "from ann")), "ok");
expect("bob's, with the same id", code(await bob.send("1", "from bob")), "ok");
const said = ["ann 1 from ann", "bob 1 from bob"];
const sees = (who) => () => who.seen.length >= said.length || `${who.seen}`;
await until("both to see both", sees(ann));
await until("both to see both", sees(bob));

expect("ann's, sent again", code(await ann.send("1", "from ann")), "ok");
expect("another one of ann's with the same id", code(await ann.send("1", "something else")), "conflict");
const annOnTheOther = await client(second, "ann");
expect("the same by way of the other node", code(await annOnTheOther.send("1", "something else")), "conflict");

// Two at once: the first one stands.
const atOnce = await Promise.all([ann.send("2", "one"), ann.send("2", "the other")]);
expect("two at once", atOnce.map(code).join(" "), "ok conflict");
expect("the last", code(await bob.send("3", "the end")), "ok");
said.push("ann 2 one", "bob 3 the end");

for (const who of [ann, bob]) {
  await until("the last message", sees(who));
  expect("what was seen", who.seen.join("; "), said.join("; "));
}
await until("the rows", async () => {
  const page = await ann.history();
  const rows = page.ok?.messages.map(({ record }) => `${record.sender} ${record.id} ${record.body}`).join("; ");
  return rows === said.join("; ") || JSON.stringify(page);
});
console.log(JSON.stringify({ said: said.length }));
[ann, bob, annOnTheOther].forEach(({ socket }) => socket.disconnect());
