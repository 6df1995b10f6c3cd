// The connection to the node that served this page: a stock socket.io-client, and what is known about the node.

import { io, type Socket } from "socket.io-client";

import { credentials, type Person } from "./auth";
import type { About, Reply, Verbs } from "./protocol";

/** Longest wait for the answer to a verb. A node answers a `send` within its ack time-out, 5 s unless told otherwise. */
const ANSWER_MS = 12_000;
/** Longest wait for a sign of life when the connection is in doubt. */
const PROBE_MS = 3_000;
/** How often the node is asked how it is. */
const ABOUT_EVERY_MS = 2_000;
/** A timer that is this late was asleep, and so was the connection. */
const ASLEEP_MS = 8_000;
/** Delay of the first new attempt, and of every later one at most. */
const RECONNECT_MS = { least: 500, most: 3_000 };

/** What the node says about itself; nothing when it does not answer. */
export async function askAbout(): Promise<About | undefined> {
  try {
    const answer = await fetch("/about", { signal: AbortSignal.timeout(PROBE_MS), cache: "no-store" });
    return answer.ok ? ((await answer.json()) as About) : undefined;
  } catch {
    return undefined;
  }
}

export interface Events {
  connected(): void;
  /** The connection has ended, or could not be made; `why` is the node's own word if it said one. */
  lost(why?: string): void;
  /** The node does not believe this person. */
  refused(why: string): void;
  /** The connection may be dead without having ended. */
  doubted(): void;
  about(): void;
  event(name: string, payload: unknown): void;
}

export class Link {
  readonly socket: Socket;
  /** What the node last said about itself. */
  about?: About;
  /** Whether a sign of life is waited for. */
  probing = false;
  #events: Events;
  #ended = new AbortController();

  constructor(person: Person, events: Events) {
    this.#events = events;
    this.socket = io({
      auth: credentials(person),
      transports: ["websocket", "polling"],
      // Where something between keeps WebSockets out, polling is tried as well.
      tryAllTransports: true,
      reconnectionDelay: RECONNECT_MS.least,
      reconnectionDelayMax: RECONNECT_MS.most,
    });
    let said: string | undefined;
    this.socket.on("connect", () => {
      said = undefined;
      events.connected();
      void this.#ask();
    });
    this.socket.on("error", (refusal: { message?: string }) => (said = refusal?.message));
    this.socket.on("disconnect", (reason) => {
      events.lost(said);
      // What the server has ended, the client does not take up again by itself.
      if (reason === "io server disconnect") this.#again();
    });
    this.socket.on("connect_error", (error) => {
      // Active: the client tries again by itself. Otherwise the node has answered, and said no.
      if (this.socket.active) return events.lost();
      if (/draining/.test(error.message)) {
        events.lost(error.message);
        this.#again();
      } else {
        events.refused(error.message);
      }
    });
    this.socket.onAny((name: string, payload: unknown) => events.event(name, payload));
    this.#watch();
  }

  get connected(): boolean {
    return this.socket.connected;
  }

  /**
   * One verb. Nothing when there was no answer: not connected, connection lost, or too late. `heard` runs before any event
   * that follows the answer, which code after an `await` does not.
   */
  ask<V extends keyof Verbs>(verb: V, payload: Verbs[V][0], heard?: (ok: Verbs[V][1]) => void, limit = ANSWER_MS): Promise<Reply<Verbs[V][1]> | undefined> {
    // While it is not connected, the stock client would keep the verb and send it before the room is joined.
    if (!this.socket.connected) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.socket.timeout(limit).emit(verb, payload, (error: Error | null, reply?: Reply<Verbs[V][1]>) => {
        if (!error && reply?.ok) heard?.(reply.ok);
        resolve(error ? undefined : reply);
      });
    });
  }

  typing(room: string): void {
    if (this.socket.connected) this.socket.volatile.emit("typing", { room });
  }

  /** Tries at once, without waiting for the next attempt. */
  now(): void {
    if (this.socket.connected) return;
    this.socket.disconnect().connect();
  }

  #again(): void {
    setTimeout(() => this.#ended.signal.aborted || this.socket.connect(), RECONNECT_MS.least);
  }

  /** Asks for a sign of life, and makes a new connection when there is none. */
  async #probe(): Promise<void> {
    if (!this.socket.connected) return this.now();
    const id = this.socket.id;
    this.probing = true;
    this.#events.doubted();
    // Not being in that room is an answer, too.
    const alive = await this.ask("presence", { room: "?" }, undefined, PROBE_MS);
    this.probing = false;
    if (!alive && this.socket.id === id) {
      this.socket.disconnect().connect();
    }
  }

  #watch(): void {
    const { signal } = this.#ended;
    const probe = () => void this.#probe();
    addEventListener("online", probe, { signal });
    addEventListener("offline", probe, { signal });
    document.addEventListener("resume", probe, { signal });
    addEventListener("pageshow", (event) => event.persisted && probe(), { signal });
    let last = Date.now();
    const timer = setInterval(() => {
      const late = Date.now() - last - ABOUT_EVERY_MS;
      last = Date.now();
      // Hidden pages have slow timers.
      if (late > ASLEEP_MS && !document.hidden) probe();
      if (!document.hidden && this.socket.connected) void this.#ask();
    }, ABOUT_EVERY_MS);
    document.addEventListener("visibilitychange", () => !document.hidden && void this.#ask(), { signal });
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  async #ask(): Promise<void> {
    const about = await askAbout();
    // Of a node that does not answer the connection itself says more.
    if (!about || JSON.stringify(about) === JSON.stringify(this.about)) return;
    this.about = about;
    this.#events.about();
  }

  end(): void {
    this.#ended.abort();
    this.socket.removeAllListeners();
    this.socket.disconnect();
  }
}
