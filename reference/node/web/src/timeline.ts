// The messages of one room in their order, each once.
//
// A message is known by its sender and its id. Order is the offset in the log; where the cluster has no positions to
// give (topology `relay`), it is the time.

import type { ChatRecord, Position } from "./protocol";

export interface Entry {
  key: string;
  record: ChatRecord;
  position?: Position;
}

export const keyOf = (sender: string, id: string): string => JSON.stringify([sender, id]);

export class Timeline {
  #entries: Entry[] = [];
  #known = new Map<string, Entry>();

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get first(): Entry | undefined {
    return this.#entries[0];
  }

  get last(): Entry | undefined {
    return this.#entries.at(-1);
  }

  has(key: string): boolean {
    return this.#known.has(key);
  }

  /** True if it was not known. A second record of the same message (a retry) changes nothing but for an earlier place. */
  add(record: ChatRecord, position?: Position): boolean {
    const key = keyOf(record.sender, record.id);
    const known = this.#known.get(key);
    if (known) {
      if (!position || (known.position && known.position.offset <= position.offset)) return false;
      this.#entries.splice(this.#entries.indexOf(known), 1);
    }
    const entry: Entry = position ? { key, record, position } : { key, record };
    let at = this.#entries.length;
    while (at > 0 && before(entry, this.#entries[at - 1]!)) at -= 1;
    this.#entries.splice(at, 0, entry);
    this.#known.set(key, entry);
    return !known;
  }

  /** Forgets all but the newest; returns how many went. */
  trim(keep: number): number {
    const gone = this.#entries.splice(0, Math.max(0, this.#entries.length - keep));
    for (const entry of gone) this.#known.delete(entry.key);
    return gone.length;
  }

  clear(): void {
    this.#entries = [];
    this.#known.clear();
  }
}

function before(one: Entry, other: Entry): boolean {
  if (one.position && other.position) return one.position.offset < other.position.offset;
  return one.record.sent_at_ms < other.record.sent_at_ms;
}

/** Longest pause between messages of one person that are shown as one group. */
const GROUP_MS = 5 * 60_000;

export interface Group<T> {
  sender: string;
  entries: T[];
}

export interface Day<T> {
  /** Midnight of the day, in milliseconds, as a key. */
  day: number;
  groups: Group<T>[];
}

/** By day (of the reader's time zone), then by runs of one sender. `splitBefore` begins a new group at that key. */
export function byDay<T extends { key: string; sender: string; at: number }>(items: readonly T[], splitBefore?: string): Day<T>[] {
  const days: Day<T>[] = [];
  let previous: T | undefined;
  for (const item of items) {
    const day = new Date(item.at).setHours(0, 0, 0, 0);
    let current = days.at(-1);
    // Order is the log's: a clock that is behind does not bring an earlier day back.
    if (!current || day > current.day) {
      current = { day, groups: [] };
      days.push(current);
      previous = undefined;
    }
    const group = current.groups.at(-1);
    const goesOn = group && previous && previous.sender === item.sender && item.at - previous.at < GROUP_MS && item.key !== splitBefore;
    if (goesOn) group.entries.push(item);
    else current.groups.push({ sender: item.sender, entries: [item] });
    previous = item;
  }
  return days;
}
