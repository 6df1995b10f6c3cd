// What a node says to clients that take too much. The node was told: 10 messages and 32 KiB a second of one client, 8
// connections of one address, pages of https://chat.example.org.
//
//   node limits.mjs http://127.0.0.1:A
import { io } from "socket.io-client";

const [url] = process.argv.slice(2);
const room = `limits-${process.pid}`;
const deadlineMs = 30_000;

setTimeout(() => fail(`not done after ${deadlineMs} ms`), deadlineMs).unref();
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
const client = (options = {}) =>
  new Promise((resolve) => {
    const socket = io(url, { auth: { user: "ann" }, transports: ["websocket"], reconnection: false, forceNew: true, ...options });
    socket.on("connect", () => resolve(socket));
    socket.on("connect_error", (error) => resolve(error));
  });
const ask = (socket, verb, payload) => socket.timeout(10_000).emitWithAck(verb, payload);
const code = (reply) => (reply.ok ? "ok" : reply.error.code);
const count = (codes) => codes.reduce((counts, code) => ({ ...counts, [code]: (counts[code] ?? 0) + 1 }), {});
let number = 0;
const send = (socket, body) => ask(socket, "send", { room, id: `${number++}`, body });

// Messages: two seconds' worth at once, and then as they come in.
const ann = await client();
await ask(ann, "join", { room });
const many = count((await Promise.all(Array.from({ length: 60 }, () => send(ann, "x")))).map(code));
if (!(many.ok >= 20 && many.ok < 40 && many.ok + many.rate_limited === 60)) fail(`60 messages: ${JSON.stringify(many)}`);
await new Promise((resolve) => setTimeout(resolve, 500));
if (code(await send(ann, "x")) !== "ok") fail("half a second later there is room for more");

// Bytes.
const large = await client();
await ask(large, "join", { room });
const bytes = count((await Promise.all(Array.from({ length: 12 }, () => send(large, "x".repeat(16_000))))).map(code));
if (!(bytes.ok >= 4 && bytes.ok < 8 && bytes.ok + bytes.rate_limited === 12)) fail(`192 KB: ${JSON.stringify(bytes)}`);

// Rooms: 256 of one socket, of which one is taken.
const rooms = [];
for (let n = 0; n < 256; n++) rooms.push(code(await ask(large, "join", { room: `${room}-${n}` })));
if (rooms.indexOf("busy") !== 255) fail(`rooms: ${JSON.stringify(count(rooms))}`);

// Connections: six more.
const others = await Promise.all(Array.from({ length: 6 }, () => client()));
if (!others.every(({ connected }) => connected)) fail("eight connections are allowed");
const ninth = await client();
if (ninth.connected) fail("a ninth connection was taken");
if (ninth.description?.message !== "Unexpected server response: 429") fail(`the ninth: ${ninth.description?.message}`);
[ann, large, ...others].forEach((socket) => socket.disconnect());
await new Promise((resolve) => setTimeout(resolve, 500));

// Origins.
const from = (origin) => client({ extraHeaders: { origin } });
const own = await from(url);
if (!own.connected) fail("the node's own page was not let in");
const listed = await from("https://chat.example.org");
if (!listed.connected) fail("the listed page was not let in");
const strange = await from("https://evil.example");
if (strange.connected || strange.description?.message !== "Unexpected server response: 403") fail("a strange page was let in");
const handshake = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: "https://chat.example.org" } });
const allowed = ["access-control-allow-origin", "access-control-allow-credentials"].map((name) => handshake.headers.get(name));
if (allowed.join(" ") !== "https://chat.example.org true") fail(`CORS: ${allowed}`);
console.log(JSON.stringify({ many, bytes }));
process.exit(0);
