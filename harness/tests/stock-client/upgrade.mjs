// Many clients with the default transports talk from the moment they are connected, while they change from polling to
// WebSocket: everybody sees what everybody in their room said, once, and each sender's in the order of its sending.
//
//   node upgrade.mjs http://127.0.0.1:A http://127.0.0.1:B
import { io } from "socket.io-client";

const nodes = process.argv.slice(2);
const [clients, rooms, everyMs, forMs] = [40, 8, 50, 4_000];
const deadlineMs = 60_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const people = Array.from({ length: clients }, (_, n) => {
  const socket = io(nodes[n % nodes.length], { auth: { user: `user-${n}` }, reconnection: false, forceNew: true });
  const who = { name: `user-${n}`, room: `upgrade-${process.pid}-${n % rooms}`, socket, seen: [], sent: 0, upgradeMs: undefined };
  socket.on("message", ({ record }) => who.seen.push(record));
  socket.on("connect_error", (error) => fail(`${who.name}: ${error.message}`));
  socket.on("disconnect", (why) => why === "io client disconnect" || fail(`${who.name}: ${why}`));
  return who;
});
await Promise.all(
  people.map(async (who) => {
    const opened = new Promise((resolve) => who.socket.io.on("open", resolve));
    const connected = new Promise((resolve) => who.socket.on("connect", resolve));
    await opened;
    const began = performance.now();
    if (who.socket.io.engine.transport.name !== "polling") fail(`${who.name} began on ${who.socket.io.engine.transport.name}`);
    who.socket.io.engine.on("upgrade", () => (who.upgradeMs = performance.now() - began));
    await connected;
    // Not awaited: a send may come before its room is joined.
    const answers = [who.socket.timeout(20_000).emitWithAck("join", { room: who.room })];
    for (const end = performance.now() + forMs; performance.now() < end; await pause(everyMs)) {
      const message = { room: who.room, id: `${who.sent}`, body: `${who.sent++}` };
      answers.push(who.socket.timeout(20_000).emitWithAck("send", message));
    }
    for (const answer of await Promise.all(answers)) if (!answer.ok) fail(`${who.name}: ${JSON.stringify(answer)}`);
  }),
);
for (const who of people) {
  for (const other of people.filter(({ room }) => room === who.room)) {
    const of = () => who.seen.filter(({ sender }) => sender === other.name).map(({ id }) => Number(id));
    while (of().at(-1) !== other.sent - 1) await pause(20);
    const seen = of();
    // What was said before this one had joined is not owed; from the first on there is no hole, no repetition, no disorder.
    const wrong = seen.findIndex((id, n) => id !== seen[0] + n);
    if (wrong >= 0) fail(`${who.name} saw of ${other.name}: ${seen.slice(Math.max(0, wrong - 3), wrong + 3)}`);
    if (other === who && seen[0] !== 0) fail(`${who.name} did not see its own ${seen[0] - 1}`);
  }
  if (who.socket.io.engine.transport.name !== "websocket") fail(`${who.name} stayed on ${who.socket.io.engine.transport.name}`);
}
const upgrades = people.map(({ upgradeMs }) => upgradeMs).sort((a, b) => a - b);
const sent = people.reduce((sum, { sent }) => sum + sent, 0);
console.log(JSON.stringify({ clients, sent, upgradeMs: { median: upgrades[clients / 2], last: upgrades.at(-1) } }));
people.forEach(({ socket }) => socket.disconnect());
