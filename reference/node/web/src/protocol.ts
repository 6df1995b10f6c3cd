// The node's protocol, as `chat_protocol::events` says it.

export interface Position {
  partition: number;
  offset: number;
}

export interface ChatRecord {
  id: string;
  room: string;
  sender: string;
  body: string;
  sent_at_ms: number;
}

/** Server event `message`. Without a position in the topology `relay`. */
export interface Message {
  position?: Position;
  record: ChatRecord;
  replayed?: boolean;
}

export interface Joined {
  room: string;
  position?: Position;
}

export interface Sent {
  id: string;
  position?: Position;
}

export interface HistoryPage {
  messages: Message[];
  /** Absent at the beginning of the room. */
  before?: number;
}

export interface Members {
  room: string;
  users: string[];
}

export interface Refusal {
  code: string;
  message: string;
}

export type Reply<T> = { ok: T; error?: undefined } | { ok?: undefined; error: Refusal };

/** What the page asks of a node, and what it gets. */
export interface Verbs {
  join: [{ room: string }, Joined];
  leave: [{ room: string }, { room: string }];
  resume: [{ room: string; position: Position }, Joined];
  send: [{ room: string; id: string; body: string }, Sent];
  history: [{ room: string; before?: number; limit: number }, HistoryPage];
  presence: [{ room: string }, Members];
}

/** `GET /about`: which node this is, and how it is. */
export interface About {
  node: string;
  topology: "durable-first" | "relay";
  ready: boolean;
  missing: string[];
  degraded: string[];
  draining: boolean;
  /** How people prove who they are. */
  sign_in: "name" | "token";
}

/** Codes after which the same send may succeed later. Every other one is final. */
export const RETRIABLE = new Set(["busy", "unavailable", "draining", "not_member", "rate_limited"]);

/** Longest body, room and user name in bytes of UTF-8 (`chat_protocol::limits`). */
export const BODY_MAX_BYTES = 16 * 1024;
export const ROOM_MAX_BYTES = 128;
export const USER_MAX_BYTES = 64;

export const bytes = (text: string): number => new TextEncoder().encode(text).length;
