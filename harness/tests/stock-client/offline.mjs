// A stock client that is cut off, goes on talking, and comes back by itself: all it said while it was away arrives once, in
// order, and every message is answered. Three clients: one keeps its messages in the client's buffer; one has `retries`, and
// asks for its rooms past the queue of these; one has `retries` and asks for its rooms in that queue, behind the messages.
//
//   node offline.mjs http://127.0.0.1:A http://127.0.0.1:B
import { io } from "socket.io-client";

const [first, second] = process.argv.slice(2);
const count = 5;
const deadlineMs = 60_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};

// What the README shows.
function chat(url, user, room, { retries, past }) {
  const options = retries ? { retries, ackTimeout: 2_000 } : {};
  const socket = io(url, {
    auth: { user }, transports: ["websocket"], forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 200, ...options,
  });
  const seen = [];
  let next; // the first position not seen yet
  let entered, enter; // resolves once the room is entered; whoever waits goes on waiting when the connection breaks
  const away = () => (entered = enter ? entered : new Promise((resolve) => (enter = resolve)));
  away();
  socket.on("disconnect", away);
  // Whatever makes the transport busy at the very moment of "connect": the answer to a ping, say, or another room.
  socket.on("connect", () => socket.volatile.emit("typing", { room }));
  socket.on("message", ({ position, record }) => {
    next = { ...position, offset: position.offset + 1 };
    seen.push(record.id);
  });
  socket.on("connect", async () => {
    // `volatile` goes past the queue of `retries`, and is dropped while the transport is busy.
    const { engine } = socket.io;
    while (past && !engine.transport.writable) await new Promise((resolve) => engine.once("drain", resolve));
    const ask = (past ? socket.volatile : socket).timeout(past ? 5_000 : 20_000);
    const [verb, payload] = next ? ["resume", { room, position: next }] : ["join", { room }];
    const reply = await ask.emitWithAck(verb, payload).catch(() => ({}));
    if (reply.error?.code === "out_of_range") next = undefined;
    if (!reply.ok) return socket.io.engine.close();
    next ??= reply.ok.position;
    enter = void enter();
  });
  const again = ["not_member", "busy", "rate_limited", "unavailable", "draining"];
  const codes = [];
  async function send(id, body) {
    for (;;) {
      const reply = await socket.emitWithAck("send", { room, id, body });
      codes.push(reply.ok ? "ok" : reply.error.code);
      if (reply.ok || !again.includes(reply.error.code)) return reply;
      await new Promise((resolve) => setTimeout(resolve, 250));
      await entered;
    }
  }
  return { socket, seen, send, codes, ready: () => entered };
}

const ways = { buffer: {}, past: { retries: 3, past: true }, behind: { retries: 3 } };
for (const [way, options] of Object.entries(ways)) {
  const room = `offline-${way}-${process.pid}`;
  const bob = chat(second, "bob", room, {});
  const ann = chat(first, "ann", room, options);
  await Promise.all([bob.ready(), ann.ready()]);
  const ids = ["hello"];
  await ann.send("hello", "before the break");

  const back = new Promise((resolve) => ann.socket.once("disconnect", resolve));
  ann.socket.io.engine.close();
  await back;
  const replies = [];
  for (let n = 0; n < count; n++) {
    ids.push(`away-${n}`);
    replies.push(ann.send(ids.at(-1), "while away"));
  }
  for (const reply of await Promise.all(replies)) if (!reply.ok) fail(`${way}: ${JSON.stringify(reply)}`);
  ids.push("end");
  await ann.send("end", "after the break");
  while (bob.seen.at(-1) !== "end" || ann.seen.at(-1) !== "end") await new Promise((resolve) => setTimeout(resolve, 20));
  for (const who of [ann, bob]) {
    // Sent again after `not_member`, they may overtake each other; none is lost or comes twice.
    const [got, wanted] = options.retries && !options.past ? [who.seen.toSorted(), ids.toSorted()] : [who.seen, ids];
    if (JSON.stringify(got) !== JSON.stringify(wanted)) fail(`${way}: saw ${who.seen}, expected ${ids}`);
  }
  console.log(JSON.stringify({ way, answers: ann.codes }));
  [ann, bob].forEach(({ socket }) => socket.disconnect());
}
