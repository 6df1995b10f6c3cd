import { useState } from "preact/hooks";

import type { Chat } from "../chat";
import type { Room } from "../room";
import { status } from "../status";
import { Composer } from "./composer";
import { Messages } from "./messages";
import { Avatar, Icon } from "./parts";

interface Props {
  chat: Chat;
  room: Room;
  unreadElsewhere: number;
  back: () => void;
  leave: () => void;
}

export function RoomView({ chat, room, unreadElsewhere, back, leave }: Props) {
  const [people, setPeople] = useState(false);
  const { label, notice, retry } = status(chat);
  const node = chat.about?.node;
  return (
    <>
      <section class="room" aria-labelledby="room-name">
        <header class="bar">
          <button class="round back" type="button" aria-label={`Rooms${unreadElsewhere ? `, ${unreadElsewhere} unread` : ""}`} onClick={back}>
            <Icon name="back" />
            {unreadElsewhere > 0 && <span class="dot" />}
          </button>
          <h2 id="room-name" dir="auto">{room.name}</h2>
          <span class="pill" data-state={chat.state} role="status">
            <span class="light" />
            <span>{label}{node && <span class="node"> · {node}</span>}</span>
          </span>
          <button class="quiet people-button" type="button" aria-expanded={people} aria-controls="people" onClick={() => setPeople(!people)}>
            <Icon name="people" /> {room.people.length}<span class="hidden"> people here</span>
          </button>
        </header>
        <div class="banner-place" role="status">
          {notice && (
            <div class="banner" data-state={chat.state}>
              <Icon name="warn" />
              <span>{notice}</span>
              {retry && <button class="quiet" type="button" onClick={() => chat.reconnect()}>Try now</button>}
            </div>
          )}
        </div>
        <Messages chat={chat} room={room} />
        <Typing names={room.typing()} />
        <Composer chat={chat} room={room} />
        <p class="hidden" role="log" aria-label="New messages" aria-live="polite">{chat.announcement}</p>
      </section>
      <section class="people" id="people" data-open={people} aria-label="People here">
        <h2>{chat.state === "offline" ? "Last seen here" : "Here now"} <span class="count">{room.people.length}</span></h2>
        <ul>
          {room.people.map((name) => (
            <li key={name}>
              <Avatar name={name} small />
              <span dir="auto">{name}</span>
              {name === chat.user && <span class="you">you</span>}
            </li>
          ))}
        </ul>
        <button class="quiet" type="button" onClick={leave}>Leave this room</button>
      </section>
    </>
  );
}

function Typing({ names }: { names: string[] }) {
  const text = names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing` : names.length === 2 ? `${names[0]} and ${names[1]} are typing` : "Several people are typing";
  return <p class="typing" aria-live="off">{text && <><span class="dots" aria-hidden="true"><i /><i /><i /></span><span dir="auto">{text}</span></>}</p>;
}
