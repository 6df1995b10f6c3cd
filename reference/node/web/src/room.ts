// What is known of one room.

import type { Position } from "./protocol";
import { keyOf, Timeline } from "./timeline";

/** How long somebody is shown as typing without news. */
const TYPING_MS = 4_000;
/** Messages of a room kept while it is not being read back; older ones are fetched again when somebody scrolls. */
const KEPT = 300;
const KEPT_MOST = 600;

export class Room {
  readonly timeline = new Timeline();
  /** First position not seen yet; what `resume` asks from. */
  next?: Position;
  /** Whether verbs in this room work on the present connection. */
  member = false;
  /** Whether what is shown goes on without a hole into what `history` has. */
  anchored = false;
  /** Where the page before begins; nothing at the beginning of the room. */
  before?: number;
  atBeginning = false;
  loading = false;
  /** Why older messages cannot be had. */
  olderWhy?: string;
  /** Why the room cannot be entered. */
  why?: string;
  people: string[] = [];
  #typing = new Map<string, number>();
  /** Offset (without positions: time) of the last message that was read. */
  read?: number;
  /** Key of the message that the line "new" stands before. */
  marker?: string;
  draft = "";

  constructor(readonly name: string, private me: string) {}

  /** Where a message stands: offset, or time where there are none. */
  place(entry: { position?: Position; record: { sent_at_ms: number } }): number {
    // In the topology `relay` only the history has positions, so that they order nothing.
    return (this.next && entry.position?.offset) ?? entry.record.sent_at_ms;
  }

  get unread(): number {
    return this.unreadEntries().length;
  }

  private unreadEntries() {
    const { entries } = this.timeline;
    let at = entries.length;
    while (at > 0 && this.place(entries[at - 1]!) > (this.read ?? -1)) at -= 1;
    return entries.slice(at).filter((entry) => entry.record.sender !== this.me);
  }

  /** Puts the line "new" before the first message that has not been read. */
  mark(): void {
    const first = this.unreadEntries()[0];
    if (first) this.marker = first.key;
    else delete this.marker;
  }

  readAll(): boolean {
    const last = this.timeline.last;
    if (!last || this.place(last) <= (this.read ?? -1)) return false;
    this.read = this.place(last);
    return true;
  }

  types(user: string): void {
    this.#typing.set(user, Date.now() + TYPING_MS);
  }

  stopsTyping(user: string): void {
    this.#typing.delete(user);
  }

  typing(): string[] {
    const now = Date.now();
    return [...this.#typing].filter(([, until]) => until > now).map(([user]) => user).sort();
  }

  has(sender: string, id: string): boolean {
    return this.timeline.has(keyOf(sender, id));
  }

  /** Bounds what a room costs that nobody looks back in. */
  trim(): void {
    if (!this.anchored || this.timeline.entries.length <= KEPT_MOST) return;
    this.timeline.trim(KEPT);
    const first = this.timeline.first?.position;
    // Without positions there is no page to ask for: what was trimmed is gone from the screen.
    if (first) {
      this.before = first.offset;
      this.atBeginning = false;
    }
  }

  /** Everything that is known of the messages is void: the log no longer has what was missed. */
  forget(): void {
    this.timeline.clear();
    this.anchored = false;
    this.atBeginning = false;
    delete this.next;
    delete this.before;
  }
}
