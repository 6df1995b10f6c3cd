import { useLayoutEffect, useRef } from "preact/hooks";

import type { Chat } from "../chat";
import { BODY_MAX_BYTES, bytes } from "../protocol";
import type { Room } from "../room";
import { Icon } from "./parts";

export function Composer({ chat, room }: { chat: Chat; room: Room }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const text = room.draft;
  const over = bytes(text) - BODY_MAX_BYTES;
  const empty = text.trim() === "";

  // The field grows with the text; its largest height is in the style sheet.
  useLayoutEffect(() => {
    const area = field.current!;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);
  // On a touch screen the keyboard would cover half of the room.
  useLayoutEffect(() => void (matchMedia("(hover: hover)").matches && field.current!.focus({ preventScroll: true })), []);

  const send = (event: Event) => {
    event.preventDefault();
    field.current!.focus();
    if (empty || over > 0) return;
    chat.write(room, text.trim());
    chat.draft(room, "");
  };
  return (
    <form class="composer" onSubmit={send}>
      <label class="hidden" for="text">Message to {room.name}</label>
      <div class="field">
        <textarea id="text" ref={field} rows={1} dir="auto" placeholder={`Message to ${room.name}`} value={text} aria-invalid={over > 0} aria-describedby={over > 0 ? "over" : undefined}
          onInput={(event) => chat.draft(room, event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && send(event)} />
        <button class="round primary" type="submit" aria-label="Send" disabled={empty || over > 0}><Icon name="send" /></button>
      </div>
      {over > 0 && <p class="wrong" id="over" role="alert">Too long by {over} bytes.</p>}
    </form>
  );
}
