// A client that asks to resume, and asks again from where it has got to while the first answer is still coming in: from the
// second ack on it sees what follows that place once and in order, and nothing of the first catch-up in between.
//
//   node resume_twice.mjs http://127.0.0.1:A
import { io } from "socket.io-client";

const [url] = process.argv.slice(2);
const [room, count] = [`twice-${process.pid}`, 1_500];
const [bodyBytes, rounds, asleepMs] = [8_000, 5, 300];
const deadlineMs = 60_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
const client = (user) => io(url, { auth: { user }, transports: ["websocket"], reconnection: false, forceNew: true });
const connected = (socket) => new Promise((resolve) => socket.once("connect", resolve));
const verb = async (socket, name, payload) => {
  const reply = await socket.timeout(20_000).emitWithAck(name, payload);
  return reply.ok ?? fail(JSON.stringify(reply));
};

const ann = client("ann");
await connected(ann);
const { position } = await verb(ann, "join", { room });
for (let n = 0; n < count; n += 50) {
  const some = Array.from({ length: 50 }, (_, i) => ({ room, id: `m${n + i}`, body: "x".repeat(bodyBytes) }));
  await Promise.all(some.map((send) => verb(ann, "send", send)));
}
ann.disconnect();

const bob = client("bob");
let seen = [];
bob.on("message", (message) => seen.push(message.position.offset));
await connected(bob);
const end = position.offset + count;
const asleep = new Int32Array(new SharedArrayBuffer(4));
for (let round = 0; round < rounds; round += 1) {
  seen = [];
  await verb(bob, "resume", { room, position });
  while (seen.length < 20) await new Promise((resolve) => setTimeout(resolve, 1));
  // Reads nothing for a while, so that the node's buffer for this client is full when the second one comes.
  Atomics.wait(asleep, 0, 0, asleepMs);
  const from = seen.at(-1) + 1;
  const before = await new Promise((resolve) => {
    // By callback: a promise goes on only after whatever came in the same chunk as the ack.
    bob.emit("resume", { room, position: { ...position, offset: from } }, (reply) => {
      if (!reply.ok) fail(JSON.stringify(reply));
      // What came before the ack belongs to the first catch-up.
      resolve(seen.length);
      seen = [];
    });
  });
  while (seen.at(-1) === undefined || seen.at(-1) < end - 1) await new Promise((resolve) => setTimeout(resolve, 5));
  const wrong = seen.findIndex((offset, i) => offset !== from + i);
  if (wrong >= 0 || seen.length !== end - from) {
    fail(`round ${round}, ${seen.length} messages from ${seen[0]} for ${end - from} from ${from}; the first wrong one is ${wrong}`);
  }
  console.log(JSON.stringify({ before, after: seen.length }));
}
bob.disconnect();
