import { useEffect, useReducer, useState } from "preact/hooks";

import { Chat } from "../chat";
import { keep, recall } from "../memory";
import { RoomView } from "./room";
import { Rooms } from "./rooms";
import { SignIn } from "./sign_in";

const roomOfAddress = (): string => {
  try {
    return decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  } catch {
    return "";
  }
};

export function App() {
  // A tab keeps its own name; a new one begins with the last that was used here.
  const [user, setUser] = useState<string>(() => recall("user", "", sessionStorage) || recall("user", ""));
  const [why, setWhy] = useState<string>();
  const [chat, setChat] = useState<Chat>();
  const [view, setView] = useState<"rooms" | "room">("room");
  const [, changed] = useReducer<number, void>((n) => n + 1, 0);

  useEffect(() => {
    if (!user) return setChat(undefined);
    keep("user", user, sessionStorage);
    keep("user", user);
    const made = new Chat(user, () => changed(), (reason) => {
      setWhy(reason);
      setUser("");
    });
    const follow = () => made.show(roomOfAddress() || [...made.rooms.keys()][0] || "lobby");
    follow();
    addEventListener("hashchange", follow);
    const seen = () => changed();
    document.addEventListener("visibilitychange", seen);
    setChat(made);
    return () => {
      removeEventListener("hashchange", follow);
      document.removeEventListener("visibilitychange", seen);
      made.end();
    };
  }, [user]);

  const unread = chat ? [...chat.rooms.values()].reduce((sum, room) => sum + room.unread, 0) : 0;
  useEffect(() => {
    document.title = `${unread ? `(${unread}) ` : ""}${chat?.active ? `${chat.active} · ` : ""}Squall chat`;
  });

  if (!user) {
    return <SignIn known={recall("user", "")} why={why} enter={(name) => {
      setWhy(undefined);
      setUser(name);
    }} />;
  }
  if (!chat?.room) return null;
  const show = (name: string) => {
    location.hash = `/${encodeURIComponent(name)}`;
    chat.show(name);
    setView("room");
  };
  const signOut = () => {
    keep("user", undefined, sessionStorage);
    setUser("");
  };
  return (
    <main class="chat" data-view={view}>
      <h1 class="hidden">Squall chat</h1>
      <Rooms chat={chat} show={show} signOut={signOut} />
      <RoomView key={chat.active} chat={chat} room={chat.room} unreadElsewhere={unread - chat.room.unread} back={() => setView("rooms")} leave={() => {
        chat.leave(chat.active);
        show(chat.active);
        setView("rooms");
      }} />
    </main>
  );
}
