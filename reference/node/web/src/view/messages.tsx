import { useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Chat } from "../chat";
import type { Unsent } from "../outbox";
import type { Room } from "../room";
import { isOnlyEmoji, pieces } from "../text";
import { byDay, keyOf } from "../timeline";
import { Avatar, Icon } from "./parts";

/** So near to an end counts as being there, in pixels. */
const NEAR_BOTTOM = 48;
const NEAR_TOP = 400;
/** Least time between two attempts to load older messages by scrolling, when the last one has failed. */
const AGAIN_MS = 2_000;

interface Item {
  key: string;
  sender: string;
  at: number;
  body: string;
  unsent?: Unsent;
}

function itemsOf(chat: Chat, room: Room): Item[] {
  const sent = room.timeline.entries.map(({ key, record }) => ({ key, sender: record.sender, at: record.sent_at_ms, body: record.body }));
  const unsent = chat.outbox.of(room.name).filter((item) => !room.has(chat.user, item.id));
  return [...sent, ...unsent.map((item) => ({ key: keyOf(chat.user, item.id), sender: chat.user, at: item.at, body: item.body, unsent: item }))];
}

export function Messages({ chat, room }: { chat: Chat; room: Room }) {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const [atBottom, setAtBottom] = useState(true);
  // What must not move: the newest message, or else the lower edge of the first one in sight (the upper one moves when it
  // turns out that the message goes on with an earlier one).
  const held = useRef<{ bottom: boolean; key?: string; distance: number }>({ bottom: true, distance: 0 });
  const opened = useRef(false);
  const askedAt = useRef(0);
  const items = itemsOf(chat, room);

  const hold = () => {
    const view = scroller.current!;
    const bottom = view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_BOTTOM;
    const first = [...view.querySelectorAll<HTMLElement>("[data-key]")].find((row) => lowerEdge(row) > view.scrollTop);
    held.current = first?.dataset.key ? { bottom, key: first.dataset.key, distance: lowerEdge(first) - view.scrollTop } : { bottom, distance: 0 };
    setAtBottom(bottom);
    chat.look(bottom);
  };
  const restore = () => {
    const view = scroller.current!;
    const { bottom, key, distance } = held.current;
    const row = key && view.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
    if (bottom) view.scrollTop = view.scrollHeight;
    else if (row) view.scrollTop = lowerEdge(row) - distance;
  };
  const older = () => {
    const view = scroller.current!;
    if (view.scrollTop > NEAR_TOP || (room.olderWhy && Date.now() - askedAt.current < AGAIN_MS)) return;
    askedAt.current = Date.now();
    void chat.older(room);
  };

  useLayoutEffect(() => {
    const view = scroller.current!;
    restore();
    if (!opened.current && items.length > 0) {
      // A room opens at what is new, or at its end.
      opened.current = true;
      view.querySelector(".marker")?.scrollIntoView({ block: "center" });
    }
    hold();
    if (!room.olderWhy) older();
  }, [items.length, items.at(-1)?.key, items[0]?.key, room.marker, room.loading, room.anchored, room.olderWhy]);
  useLayoutEffect(() => {
    // The keyboard of a phone, a banner, a growing composer: what was in sight stays so.
    const observer = new ResizeObserver(restore);
    observer.observe(scroller.current!);
    observer.observe(content.current!);
    return () => observer.disconnect();
  }, []);

  const toBottom = () => {
    held.current.bottom = true;
    restore();
    hold();
    scroller.current!.focus();
  };
  const own = items.at(-1)?.unsent?.id;
  useLayoutEffect(() => void (own && toOwn(held, restore)), [own]);

  return (
    <div class="messages">
      <div class="scroller" ref={scroller} tabIndex={0} role="region" aria-label={`Messages in ${room.name}`} onScroll={() => {
        hold();
        older();
      }}>
        <div class="content" ref={content}>
          <Beginning chat={chat} room={room} empty={items.length === 0} />
          {byDay(items, room.marker).map(({ day, groups }) => (
            <section key={day} class="day" aria-label={dayName(day)}>
              <h3><span>{dayName(day)}</span></h3>
              <ol>
                {groups.flatMap(({ entries }) => entries.map((item, n) => (
                  <Row key={item.key} chat={chat} item={item} first={n === 0} last={n === entries.length - 1} isNew={item.key === room.marker} />
                )))}
              </ol>
            </section>
          ))}
        </div>
      </div>
      {!atBottom && (
        <button class="jump" type="button" onClick={toBottom}>
          <Icon name="down" /> {room.unread > 0 ? `${room.unread} new` : "Newest"}
        </button>
      )}
    </div>
  );
}

const lowerEdge = (row: HTMLElement): number => row.offsetTop + row.offsetHeight;

/** One's own message is shown when it is written, wherever one was reading. */
function toOwn(held: { current: { bottom: boolean } }, restore: () => void): void {
  held.current.bottom = true;
  restore();
}

function Beginning({ chat, room, empty }: { chat: Chat; room: Room; empty: boolean }) {
  if (room.olderWhy && !room.atBeginning) {
    return (
      <p class="beginning" role="status">
        Older messages cannot be loaded right now. {room.anchored && <button class="quiet" type="button" onClick={() => void chat.older(room)}>Try again</button>}
      </p>
    );
  }
  if (room.atBeginning) return <p class="beginning">{empty ? "Nothing has been said here yet. Say hello!" : "This is where the room begins."}</p>;
  return <p class="beginning">{room.loading || !room.anchored ? "Loading messages…" : ""}</p>;
}

interface RowProps {
  chat: Chat;
  item: Item;
  /** Of a group of messages of one sender. */
  first: boolean;
  last: boolean;
  isNew: boolean;
}

function Row({ chat, item, first, last, isNew }: RowProps) {
  const { unsent, at, body, sender } = item;
  const own = sender === chat.user;
  const state = unsent?.state ?? "sent";
  const when = new Date(at);
  return (
    <li class={`row${own ? " own" : ""}${first ? " first" : ""}${last ? " last" : ""}`} data-key={item.key} data-state={own ? state : undefined}>
      {isNew && <div class="marker"><span>New<span class="hidden"> messages</span></span></div>}
      {first && !own && <Avatar name={sender} />}
      {first && <h4 class={own ? "hidden" : ""} dir="auto">{own ? "You" : sender}</h4>}
      <div class={`bubble${isOnlyEmoji(body) ? " emoji" : ""}`}>
        <p dir="auto"><Text body={body} /></p>
        <span class="meta">
          <time dateTime={when.toISOString()} title={when.toLocaleString()}>{when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}</time>
          {own && <span class="state" role="img" aria-label={state === "sent" ? "Sent" : state === "waiting" ? "Waiting" : "Not sent"}><Icon name={state === "sent" ? "check" : state === "waiting" ? "clock" : "warn"} /></span>}
        </span>
      </div>
      {unsent?.state === "waiting" && unsent.why && <p class="why">Waiting: {unsent.why}. It is tried again.</p>}
      {unsent?.state === "waiting" && !unsent.why && chat.state === "offline" && <p class="why">Waiting for the connection</p>}
      {unsent?.state === "failed" && (
        <p class="why failed">
          Not sent: {unsent.why} <button class="quiet" type="button" onClick={() => chat.outbox.retry(unsent.id)}>Try again</button>
          <button class="quiet" type="button" onClick={() => chat.outbox.remove(unsent.id)}>Delete</button>
        </p>
      )}
    </li>
  );
}

function Text({ body }: { body: string }) {
  return <>{pieces(body).map(({ text, href }) => (href ? <a href={href} target="_blank" rel="noopener noreferrer nofollow">{text}</a> : text))}</>;
}

function dayName(day: number): string {
  const today = new Date().setHours(0, 0, 0, 0);
  const yesterday = new Date(new Date().setDate(new Date().getDate() - 1)).setHours(0, 0, 0, 0);
  if (day === today) return "Today";
  if (day === yesterday) return "Yesterday";
  const sameYear = new Date(day).getFullYear() === new Date().getFullYear();
  return new Date(day).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", ...(sameYear ? {} : { year: "numeric" }) });
}
