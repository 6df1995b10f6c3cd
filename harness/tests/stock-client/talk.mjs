// Two stock Socket.IO clients on two nodes, one over WebSocket, one over polling, talk both ways; then one drops out,
// misses messages, comes back on the other node and resumes. Exits 0 only when all arrived once, in order.
//
//   node talk.mjs http://127.0.0.1:A http://127.0.0.1:B
import { io } from "socket.io-client";

const [first, second] = process.argv.slice(2);
const room = `stock-${process.pid}`;
const count = 25;
const deadlineMs = 20_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};

function client(url, user, transports) {
  const socket = io(url, { auth: { user }, transports, reconnection: false, forceNew: true });
  const seen = [];
  socket.on("message", (message) => {
    seen.push(message);
    socket.waiting?.();
  });
  socket.on("connect_error", (error) => fail(`${user}: ${error.message}`));
  return { socket, seen, user };
}

const connected = ({ socket }) => new Promise((resolve) => socket.once("connect", resolve));
const ok = (reply) => reply.ok ?? fail(JSON.stringify(reply));
const verb = async ({ socket }, name, payload) => ok(await socket.timeout(5_000).emitWithAck(name, payload));
const until = (who, enough) =>
  new Promise((resolve) => {
    who.socket.waiting = () => enough(who.seen) && resolve();
    who.socket.waiting();
  });

function check(who, ids) {
  const got = who.seen.map((message) => message.record.id);
  if (JSON.stringify(got) !== JSON.stringify(ids)) fail(`${who.user} saw ${got}\nexpected ${ids}`);
}

const ann = client(first, "ann", ["websocket"]);
const bob = client(second, "bob", ["polling"]);
await Promise.all([connected(ann), connected(bob)]);
if (ann.socket.io.engine.transport.name !== "websocket") fail("ann is not on websocket");
if (bob.socket.io.engine.transport.name !== "polling") fail("bob is not on polling");

await verb(ann, "join", { room });
await verb(bob, "join", { room });
const ids = [];
for (let n = 0; n < count; n++) {
  const from = n % 2 ? bob : ann;
  const id = `${from.user}-${n}`;
  const sent = await verb(from, "send", { room, id, body: `hello ${n} ☃` });
  if (sent.id !== id || !Number.isInteger(sent.position.offset)) fail(`a strange ack: ${JSON.stringify(sent)}`);
  ids.push(id);
}
await until(ann, (seen) => seen.length >= count);
await until(bob, (seen) => seen.length >= count);
check(ann, ids);
check(bob, ids);

// A refusal has the documented shape.
const refused = await ann.socket.timeout(5_000).emitWithAck("send", { room: "elsewhere", id: "x", body: "x" });
if (refused.error?.code !== "not_member") fail(`a strange refusal: ${JSON.stringify(refused)}`);

// Bob drops out, misses some, and resumes on ann's node.
const last = bob.seen.at(-1).position;
bob.socket.disconnect();
const missed = [];
for (let n = 0; n < 5; n++) {
  missed.push(`late-${n}`);
  await verb(ann, "send", { room, id: missed[n], body: "while you were away" });
}
const back = client(first, "bob", ["websocket", "polling"]);
await connected(back);
await verb(back, "resume", { room, position: { partition: last.partition, offset: last.offset + 1 } });
await verb(ann, "send", { room, id: "live", body: "welcome back" });
await until(back, (seen) => seen.length >= missed.length + 1);
check(back, [...missed, "live"]);

console.log(JSON.stringify({ talked: count, resumed: missed.length }));
ann.socket.disconnect();
back.socket.disconnect();
