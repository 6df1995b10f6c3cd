// A stock Socket.IO client that sends verbs one after another and prints each answer, a line of JSON each.
//
//   node verbs.mjs http://127.0.0.1:A '["join", {"room": "r"}]' '["send", {"room": "r", "id": "1", "body": "x"}]'
import { io } from "socket.io-client";

const [url, ...verbs] = process.argv.slice(2);
const socket = io(url, { auth: { user: "ann" }, transports: ["websocket"], reconnection: false });
socket.on("connect_error", (error) => {
  console.error(error.message);
  process.exit(1);
});
await new Promise((resolve) => socket.once("connect", resolve));
for (const [name, payload] of verbs.map((verb) => JSON.parse(verb))) {
  console.log(JSON.stringify(await socket.timeout(10_000).emitWithAck(name, payload)));
}
socket.disconnect();
