// What the page says about the connection and the node, in words for people.

import type { Chat } from "./chat";

export interface Status {
  /** One word or two for the pill. */
  label: string;
  /** A sentence for the banner, when there is something to say. */
  notice?: string;
  /** Whether trying again at once makes sense. */
  retry: boolean;
}

export function status(chat: Chat): Status {
  const node = chat.about?.node ?? "the node";
  if (chat.state === "offline") {
    if (!chat.everConnected && !chat.why) return { label: "Connecting", retry: false };
    const why = chat.why ? `${node} says: ${chat.why}.` : navigator.onLine ? `${node} does not answer.` : "This device has no network.";
    return { label: "Offline", notice: `${why} What you write is kept here and sent when the connection is back.`, retry: true };
  }
  const label = chat.state === "live" ? "Live" : "Catching up";
  const notice = trouble(chat) ?? (chat.room?.why ? `This room cannot be entered: ${chat.room.why}.` : undefined);
  return notice ? { label, notice, retry: false } : { label, retry: false };
}

function trouble({ about }: Chat): string | undefined {
  if (!about) return undefined;
  if (about.draining) return `${about.node} is about to stop. Your messages are kept here until it is back.`;
  if (about.missing.includes("kafka")) return "Kafka is away: messages wait here and are sent when it is back.";
  if (about.missing.includes("redis")) {
    return about.topology === "relay" ? "Redis is away: messages wait here and are sent when it is back." : "Redis is away: messages still arrive, by way of Kafka. Typing and presence do not.";
  }
  if (about.missing.length > 0) return `${about.node} waits for: ${about.missing.join(", ")}.`;
  if (about.degraded.includes("postgres")) return "PostgreSQL is away: talking works, older messages cannot be loaded.";
  return undefined;
}
