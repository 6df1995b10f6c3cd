import { useState } from "preact/hooks";

import type { Chat } from "../chat";
import { bytes, ROOM_MAX_BYTES } from "../protocol";
import type { Room } from "../room";
import { Avatar, Icon } from "./parts";

export function Rooms({ chat, show, signOut }: { chat: Chat; show: (name: string) => void; signOut: () => void }) {
  const [name, setName] = useState("");
  const wanted = name.trim().replace(/^#/, "");
  const add = (event: Event) => {
    event.preventDefault();
    if (!wanted || bytes(wanted) > ROOM_MAX_BYTES) return;
    setName("");
    show(wanted);
  };
  return (
    <div class="side">
      <header class="brand">
        <img src="/favicon.svg" width="28" height="28" alt="" />
        <span aria-hidden="true">Squall chat</span>
      </header>
      <nav aria-label="Rooms">
        <ul class="rooms">
          {[...chat.rooms.values()].map((room) => <Line key={room.name} chat={chat} room={room} show={show} />)}
        </ul>
      </nav>
      <form class="add-room" onSubmit={add}>
        <label class="hidden" for="room">Join or create a room</label>
        <input id="room" type="text" dir="auto" placeholder="Join or create a room" autocomplete="off" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        <button class="round" type="submit" aria-label="Join the room" disabled={!wanted}><Icon name="plus" /></button>
      </form>
      <footer class="me">
        <Avatar name={chat.user} />
        <span class="who" dir="auto">{chat.user}</span>
        <button class="quiet" type="button" onClick={signOut}>Sign out</button>
      </footer>
    </div>
  );
}

function Line({ chat, room, show }: { chat: Chat; room: Room; show: (name: string) => void }) {
  const current = chat.active === room.name;
  const waiting = chat.outbox.of(room.name).at(-1);
  const last = room.timeline.last?.record;
  const { unread } = room;
  return (
    <li>
      <a href={`#/${encodeURIComponent(room.name)}`} aria-current={current ? "page" : undefined} onClick={(event) => {
        event.preventDefault();
        show(room.name);
      }}>
        <span class="name" dir="auto">{room.name}</span>
        {unread > 0 && <span class="badge">{unread > 99 ? "99+" : unread}<span class="hidden"> unread</span></span>}
        {(waiting ?? last) && (
          <span class="last">{waiting ? `You: ${waiting.body}` : `${last!.sender === chat.user ? "You" : last!.sender}: ${last!.body}`}</span>
        )}
      </a>
    </li>
  );
}
