// The chat of one person: rooms, what is in them, and what has still to be sent. No rendering.
//
// Catching up without holes or doubles rests on positions: each room knows the first position it has not seen, and after
// every connection asks to `resume` from there. A room seen for the first time is joined, and then tied to its history:
// the newest page ends at some offset, and `resume` from the next one brings what lies between the page and the present.

import type { Person } from "./auth";
import { Link } from "./link";
import { keep, recall } from "./memory";
import { Outbox } from "./outbox";
import { RETRIABLE, type About, type ChatRecord, type Message, type Position } from "./protocol";
import { Room } from "./room";
import { keyOf } from "./timeline";

const PAGE = 50;
/** How far back in the partition is looked when the history cannot be had, in records of all its rooms. */
const LOOK_BACK = 2_000;
/** A catch-up is over when nothing has come for so long: the protocol does not say where it ends. */
const QUIET_MS = 400;
/** Waits between attempts: doubling, in milliseconds. */
const RETRY_MS = { least: 500, most: 8_000 };
const TYPING_EVERY_MS = 2_000;
const PRESENCE_EVERY_MS = 20_000;
const DEFAULT_ROOM = "lobby";

export type State = "live" | "catching up" | "offline";

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const backoff = (attempt: number) => Math.min(RETRY_MS.most, RETRY_MS.least * 2 ** attempt);

export class Chat {
  readonly user: string;
  readonly rooms = new Map<string, Room>();
  active = "";
  state: State = "offline";
  /** What the node said when it ended the connection. */
  why?: string;
  /** False until the first connection, when "offline" would be a strange word. */
  everConnected = false;
  readonly outbox: Outbox;
  /** The newest message of somebody else in the active room, for screen readers. */
  announcement = "";

  #link: Link;
  #changed: () => void;
  /** Counts connections: what was begun on an earlier one has no say on this one. */
  #life = 0;
  #quiet?: ReturnType<typeof setTimeout>;
  #typed = 0;
  #timer: ReturnType<typeof setInterval>;
  #sending = new Map<string, number>();
  /** Whether somebody looks at the newest message of the active room. */
  #looking = true;

  constructor(person: Person, changed: () => void, refused: (why: string) => void) {
    this.user = person.user;
    this.#changed = changed;
    this.outbox = new Outbox(person.user, () => {
      this.#sendAll();
      changed();
    });
    for (const name of recall<string[]>(this.#key("rooms"), [DEFAULT_ROOM])) this.#open(name);
    this.#link = new Link(person, {
      connected: () => this.#connected(),
      lost: (why) => this.#lost(why),
      refused,
      doubted: () => this.#catchingUp(),
      about: changed,
      event: (name, payload) => this.#event(name, payload),
    });
    this.#timer = setInterval(() => this.#refreshPresence(), PRESENCE_EVERY_MS);
  }

  get about(): About | undefined {
    return this.#link.about;
  }

  get room(): Room | undefined {
    return this.rooms.get(this.active);
  }

  end(): void {
    this.#life += 1;
    clearInterval(this.#timer);
    this.#link.end();
  }

  reconnect(): void {
    this.#link.now();
  }

  // ---- rooms

  #key(what: string): string {
    return `${what}.${encodeURIComponent(this.user)}`;
  }

  #open(name: string): Room {
    let room = this.rooms.get(name);
    if (!room) {
      room = new Room(name, this.user);
      const read = recall<Record<string, number>>(this.#key("read"), {})[name];
      if (read !== undefined) room.read = read;
      room.draft = recall(`draft.${encodeURIComponent(name)}`, "", sessionStorage);
      this.rooms.set(name, room);
    }
    return room;
  }

  #keepRooms(): void {
    keep(this.#key("rooms"), [...this.rooms.keys()]);
  }

  /** Shows a room, and enters it if it is new. */
  show(name: string): void {
    const isNew = !this.rooms.has(name);
    const room = this.#open(name);
    if (this.active !== name) {
      this.active = name;
      this.announcement = "";
      room.mark();
    }
    if (isNew) {
      this.#keepRooms();
      if (this.#link.connected) void this.#enter(room, this.#life);
    }
    this.#changed();
  }

  /** Leaves a room and forgets it. */
  leave(name: string): void {
    if (!this.rooms.delete(name)) return;
    this.#keepRooms();
    void this.#link.ask("leave", { room: name });
    if (this.active === name) this.show([...this.rooms.keys()][0] ?? DEFAULT_ROOM);
    this.#changed();
  }

  /** Whether the reader sees the newest message. */
  look(looking: boolean): void {
    this.#looking = looking;
    this.#readActive();
  }

  #readActive(): void {
    const room = this.room;
    if (!room || !this.#looking || document.hidden) return;
    if (!room.readAll()) return;
    const read = recall<Record<string, number>>(this.#key("read"), {});
    keep(this.#key("read"), { ...read, [room.name]: room.read });
    this.#changed();
  }

  // ---- the connection

  #connected(): void {
    this.#life += 1;
    this.everConnected = true;
    delete this.why;
    for (const room of this.rooms.values()) {
      room.member = false;
      delete room.why;
      void this.#enter(room, this.#life);
    }
    this.#catchingUp();
  }

  #lost(why?: string): void {
    this.#life += 1;
    if (why) this.why = why;
    this.state = "offline";
    clearTimeout(this.#quiet);
    for (const room of this.rooms.values()) {
      room.member = false;
      room.loading = false;
    }
    this.#changed();
  }

  /** From now on "catching up", until every room is entered and nothing has come for a while. */
  #catchingUp(): void {
    if (!this.#link.connected) return;
    this.state = "catching up";
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      const rooms = [...this.rooms.values()];
      if (!this.#link.connected) return;
      if (this.#link.probing || rooms.some((room) => !room.member && !room.why)) return this.#catchingUp();
      this.state = "live";
      this.#changed();
    }, QUIET_MS);
    this.#changed();
  }

  async #enter(room: Room, life: number): Promise<void> {
    for (let attempt = 0; this.#life === life && this.rooms.has(room.name); attempt += 1) {
      const reply = room.next ? await this.#resume(room, room.next) : await this.#join(room);
      if (this.#life !== life || !reply) return;
      if (reply.ok) {
        room.member = true;
        delete room.why;
        this.#changed();
        void this.#refreshPresenceOf(room);
        void this.#send(room, life);
        // Without positions (topology `relay`) what was missed can only be in the history.
        if (!room.anchored || !room.next) await this.#anchor(room, life);
        return;
      }
      const { code, message } = reply.error;
      if (room.next && (code === "out_of_range" || code === "invalid")) {
        // Away for longer than the log keeps, or another log: what was shown may have a hole after it.
        room.forget();
        continue;
      }
      room.why = message;
      this.#changed();
      if (!RETRIABLE.has(code)) return;
      await pause(backoff(attempt));
    }
  }

  #join(room: Room) {
    return this.#link.ask("join", { room: room.name }, ({ position }) => {
      if (!position) return;
      room.next = position;
      // Another cluster at the same address counts from the beginning.
      room.read = Math.min(room.read ?? position.offset - 1, position.offset - 1);
    });
  }

  #resume(room: Room, position: Position) {
    // What comes after the ack begins at that position, whatever came before it.
    return this.#link.ask("resume", { room: room.name, position }, (joined) => {
      if (joined.position) room.next = joined.position;
      this.#catchingUp();
    });
  }

  /** Ties what is shown to the history. */
  async #anchor(room: Room, life: number): Promise<void> {
    /** From here on everything has been, or will be, delivered. Absent in the topology `relay`. */
    let floor = room.next;
    const end = room.next;
    for (let attempt = 0; this.#life === life && this.rooms.has(room.name); attempt += 1) {
      const reply = await this.#link.ask("history", { room: room.name, limit: PAGE });
      if (this.#life !== life || !reply) return;
      if (reply.ok) {
        const { messages, before } = reply.ok;
        for (const message of messages) room.timeline.add(message.record, message.position);
        const last = messages.at(-1)?.position?.offset;
        const from = last === undefined ? Math.max(0, (end?.offset ?? 0) - LOOK_BACK) : last + 1;
        if (floor && from < floor.offset) {
          const resumed = await this.#resume(room, { partition: floor.partition, offset: from });
          if (this.#life !== life) return;
          // Refused: the log begins later than the history ends. There is nothing more to be had.
          if (resumed?.error && resumed.error.code !== "out_of_range") {
            await pause(backoff(attempt));
            continue;
          }
        }
        room.anchored = true;
        room.atBeginning = before === undefined;
        if (before !== undefined) room.before = Math.min(before, floor?.offset ?? before, room.before ?? before);
        delete room.olderWhy;
        if (this.active === room.name && room.unread > 0) room.mark();
        this.#readActive();
        this.#changed();
        return;
      }
      room.olderWhy = reply.error.message;
      if (floor && floor === end && floor.offset > 0) {
        // At least what the log has kept lately.
        const offset = Math.max(0, floor.offset - LOOK_BACK);
        const resumed = await this.#resume(room, { partition: floor.partition, offset });
        if (this.#life !== life) return;
        if (resumed?.ok) floor = { partition: floor.partition, offset };
      }
      this.#changed();
      await pause(backoff(attempt));
    }
  }

  /** The page before what is shown. */
  async older(room: Room): Promise<void> {
    if (room.loading || room.atBeginning || !room.anchored || room.before === undefined || !room.member) return;
    room.loading = true;
    this.#changed();
    const life = this.#life;
    const before = room.before;
    const reply = await this.#link.ask("history", { room: room.name, before, limit: PAGE });
    if (this.#life !== life) return;
    // A trim, or a new beginning, meanwhile.
    if (room.before === before && reply?.ok) {
      for (const message of reply.ok.messages) room.timeline.add(message.record, message.position);
      room.atBeginning = reply.ok.before === undefined;
      if (reply.ok.before !== undefined) room.before = reply.ok.before;
      delete room.olderWhy;
    } else if (!reply?.ok) {
      room.olderWhy = reply?.error.message ?? "the node did not answer";
    }
    room.loading = false;
    this.#changed();
  }

  // ---- what the node says by itself

  #event(name: string, payload: unknown): void {
    const room = this.rooms.get((payload as { room?: string }).room ?? "");
    if (name === "message") this.#heard(payload as Message);
    else if (name === "typing" && room) {
      room.types((payload as { user: string }).user);
      this.#changed();
      setTimeout(this.#changed, 4_100);
    } else if (name === "presence" && room) {
      const { user, online } = payload as { user: string; online: boolean };
      const others = room.people.filter((other) => other !== user);
      room.people = online ? [...others, user].sort() : others;
      this.#changed();
    }
  }

  #heard({ position, record, replayed }: Message): void {
    const room = this.rooms.get(record.room);
    if (!room) return;
    if (position) room.next = { partition: position.partition, offset: position.offset + 1 };
    const looking = this.#looking && !document.hidden && this.active === room.name;
    const isFirstUnread = room.unread === 0;
    const isNew = room.timeline.add(record, position);
    room.stopsTyping(record.sender);
    if (record.sender === this.user) this.outbox.remove(record.id);
    else if (isNew && isFirstUnread && this.active === room.name && (!looking || this.#isMissed(room, replayed))) room.marker = keyOf(record.sender, record.id);
    if (isNew && this.active === room.name && record.sender !== this.user) this.announcement = `${record.sender}: ${record.body}`;
    if (this.state === "catching up" && replayed) this.#catchingUp();
    if (looking) {
      this.#readActive();
      room.trim();
    }
    if (this.active !== room.name) room.trim();
    this.#changed();
  }

  /** Whether a message was said while this page was away: the first such one gets the line "new". */
  #isMissed(room: Room, replayed = false): boolean {
    return replayed && this.state === "catching up" && room.anchored && room.marker === undefined;
  }

  #refreshPresence(): void {
    for (const room of this.rooms.values()) if (room.member) void this.#refreshPresenceOf(room);
  }

  async #refreshPresenceOf(room: Room): Promise<void> {
    const reply = await this.#link.ask("presence", { room: room.name });
    if (!reply?.ok) return;
    room.people = reply.ok.users;
    this.#changed();
  }

  // ---- sending

  write(room: Room, body: string): void {
    delete room.marker;
    this.#typed = 0;
    this.outbox.add(room.name, body);
  }

  draft(room: Room, text: string): void {
    room.draft = text;
    keep(`draft.${encodeURIComponent(room.name)}`, text || undefined, sessionStorage);
    this.#changed();
    if (!text || !room.member || Date.now() - this.#typed < TYPING_EVERY_MS) return;
    this.#typed = Date.now();
    this.#link.typing(room.name);
  }

  #sendAll(): void {
    for (const room of this.rooms?.values() ?? []) if (room.member) void this.#send(room, this.#life);
  }

  /** Sends what waits in a room, one after the other, so that it stands in the log in the order it was written. */
  async #send(room: Room, life: number): Promise<void> {
    if (this.#sending.get(room.name) === life) return;
    this.#sending.set(room.name, life);
    let attempt = 0;
    while (this.#life === life && room.member) {
      const item = this.outbox.next(room.name);
      if (!item) break;
      const reply = await this.#link.ask("send", { room: item.room, id: item.id, body: item.body });
      if (this.#life !== life) return;
      if (reply?.ok) {
        attempt = 0;
        this.#sent({ id: item.id, room: item.room, sender: this.user, body: item.body, sent_at_ms: Date.now() }, reply.ok.position);
        continue;
      }
      const { code, message } = reply?.error ?? { code: "unavailable", message: "the node has not answered yet" };
      if (!RETRIABLE.has(code)) {
        this.outbox.note(item.id, "failed", message);
        continue;
      }
      this.outbox.note(item.id, "waiting", message);
      if (code === "not_member") {
        this.#sending.delete(room.name);
        room.member = false;
        return void this.#enter(room, life);
      }
      await pause(backoff(attempt));
      attempt += 1;
    }
    if (this.#sending.get(room.name) === life) this.#sending.delete(room.name);
  }

  #sent(record: ChatRecord, position?: Position): void {
    this.rooms.get(record.room)?.timeline.add(record, position);
    this.outbox.remove(record.id);
    this.#readActive();
    this.#changed();
  }
}
