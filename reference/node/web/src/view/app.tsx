import { useEffect, useReducer, useState } from "preact/hooks";

import { personOf, tokenOf, type Person } from "../auth";
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

/** Who comes with a token in the address, which must not stay there; or who this tab knows, or the last one here. */
function arriving(): Person | undefined {
  const token = tokenOf(location.hash);
  if (token) history.replaceState(null, "", location.pathname + location.search);
  const known = () => recall<Person | undefined>("person", undefined, sessionStorage) ?? recall<Person | undefined>("person", undefined);
  return (token ? personOf(token) : undefined) ?? known();
}

function forget(): void {
  keep("person", undefined, sessionStorage);
  keep("person", undefined);
}

export function App() {
  const [person, setPerson] = useState(arriving);
  const [why, setWhy] = useState<string>();
  const [chat, setChat] = useState<Chat>();
  const [view, setView] = useState<"rooms" | "room">("room");
  const [, changed] = useReducer<number, void>((n) => n + 1, 0);

  useEffect(() => {
    if (!person) return setChat(undefined);
    keep("person", person, sessionStorage);
    keep("person", person);
    // To be offered again after signing out.
    keep("name", person.user);
    const made = new Chat(person, () => changed(), (reason) => {
      forget();
      setWhy(reason);
      setPerson(undefined);
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
  }, [person]);

  const unread = chat ? [...chat.rooms.values()].reduce((sum, room) => sum + room.unread, 0) : 0;
  useEffect(() => {
    document.title = `${unread ? `(${unread}) ` : ""}${chat?.active ? `${chat.active} · ` : ""}Squall chat`;
  });

  if (!person) {
    return <SignIn known={recall("name", "")} why={why} enter={(entering) => {
      setWhy(undefined);
      setPerson(entering);
    }} />;
  }
  if (!chat?.room) return null;
  const show = (name: string) => {
    location.hash = `/${encodeURIComponent(name)}`;
    chat.show(name);
    setView("room");
  };
  const signOut = () => {
    forget();
    setPerson(undefined);
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
