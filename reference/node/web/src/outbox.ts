// Messages that are not in the log yet, or were refused. Each is an item of its own in localStorage, so that several tabs
// of one person never overwrite each other's; they are seen in all of them and sent by the tab that wrote them. When that
// tab is gone, another one sends them. Sending one twice does no harm: it has the same id.

import { freshId, keep, keysBelow, recall } from "./memory";

export interface Unsent {
  id: string;
  room: string;
  body: string;
  /** When it was written, in milliseconds. */
  at: number;
  /** The tab that sends it. */
  tab: string;
  state: "waiting" | "failed";
  /** Why it has not been sent yet, or never will. */
  why?: string;
}

export class Outbox {
  #items = new Map<string, Unsent>();
  #prefix: string;
  readonly tab: string;

  constructor(user: string, private changed: () => void) {
    this.#prefix = `unsent.${encodeURIComponent(user)}.`;
    this.tab = recall("tab", "", sessionStorage) || freshId();
    keep("tab", this.tab, sessionStorage);
    for (const key of keysBelow(this.#prefix)) this.#read(key);
    addEventListener("storage", (event) => {
      const key = event.key?.slice("squall.".length);
      if (!key?.startsWith(this.#prefix)) return;
      if (event.newValue === null) this.#items.delete(key.slice(this.#prefix.length));
      else this.#read(key);
      this.changed();
    });
    this.#adopt();
  }

  #read(key: string): void {
    const item = recall<Partial<Unsent> | null>(key, null);
    const whole = item && typeof item.id === "string" && typeof item.room === "string" && typeof item.body === "string";
    if (whole) this.#items.set(item.id!, { at: Date.now(), tab: "", state: "waiting", ...item } as Unsent);
  }

  /** Takes over what tabs have left that are gone. A tab holds a lock with its name for as long as it lives. */
  #adopt(): void {
    const locks = navigator.locks as LockManager | undefined;
    const alone = (alive: Set<string>) => {
      for (const item of this.#items.values()) {
        if (item.tab !== this.tab && !alive.has(item.tab)) this.#write({ ...item, tab: this.tab });
      }
      this.changed();
    };
    // Without locks (plain http) every tab takes all it finds at its start.
    if (!locks) return alone(new Set());
    const name = `squall.tab.${this.tab}`;
    void locks.request(name, { mode: "shared" }, () => new Promise(() => {}));
    const look = async () => {
      const { held = [] } = await locks.query();
      alone(new Set(held.map((lock) => lock.name?.slice("squall.tab.".length) ?? "")));
    };
    void look();
    setInterval(() => this.#items.size > 0 && void look(), 5_000);
  }

  #write(item: Unsent): void {
    this.#items.set(item.id, item);
    keep(this.#prefix + item.id, item);
  }

  of(room: string): Unsent[] {
    return [...this.#items.values()].filter((item) => item.room === room).sort((a, b) => a.at - b.at);
  }

  /** What this tab has to send next in a room. */
  next(room: string): Unsent | undefined {
    return this.of(room).find((item) => item.tab === this.tab && item.state === "waiting");
  }

  add(room: string, body: string): Unsent {
    const item: Unsent = { id: freshId(), room, body, at: Date.now(), tab: this.tab, state: "waiting" };
    this.#write(item);
    this.changed();
    return item;
  }

  /** Why an item still waits, or that it has failed. Nothing if it is gone meanwhile. */
  note(id: string, state: Unsent["state"], why?: string): void {
    const item = this.#items.get(id);
    if (!item || (item.state === state && item.why === why)) return;
    const { why: _, ...rest } = item;
    this.#write({ ...rest, state, ...(why === undefined ? {} : { why }) });
    this.changed();
  }

  /** Sent by this tab from now on, once more, with the same id. */
  retry(id: string): void {
    const item = this.#items.get(id);
    if (!item) return;
    const { why: _, ...rest } = item;
    this.#write({ ...rest, state: "waiting", tab: this.tab });
    this.changed();
  }

  remove(id: string): void {
    if (!this.#items.delete(id)) return;
    keep(this.#prefix + id, undefined);
    this.changed();
  }
}
