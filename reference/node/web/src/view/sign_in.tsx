import { useEffect, useState } from "preact/hooks";

import { personOf, type Person } from "../auth";
import { askAbout } from "../link";
import { bytes, USER_MAX_BYTES, type About } from "../protocol";

const WORDS = {
  name: { ask: "Choose the name that others will see.", label: "Your name", none: "Please enter a name." },
  token: { ask: "Paste the token that you were given to sign in with.", label: "Sign-in token", none: "Please paste a token." },
};

export function SignIn({ known, why, enter }: { known: string; why: string | undefined; enter: (person: Person) => void }) {
  const [by, setBy] = useState<About["sign_in"]>();
  const [name, setName] = useState(known);
  const [token, setToken] = useState("");
  const [wrong, setWrong] = useState(why);
  // Where the node does not say, a name: if that is not enough, it says so.
  useEffect(() => void askAbout().then((about) => setBy(about?.sign_in ?? "name")), []);
  if (!by) return null;
  const text = by === "name" ? name : token;
  const submit = (event: Event) => {
    event.preventDefault();
    const wanted = text.trim();
    if (!wanted) return setWrong(WORDS[by].none);
    const person = by === "name" ? { user: wanted } : personOf(wanted);
    if (!person) return setWrong("This is not a sign-in token.");
    if (bytes(person.user) > USER_MAX_BYTES) return setWrong("This name is too long.");
    enter(person);
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit} noValidate>
        <img src="/favicon.svg" width="48" height="48" alt="" />
        <h1>Welcome to Squall chat</h1>
        <p>{WORDS[by].ask}</p>
        <label for={by}>{WORDS[by].label}</label>
        <input id={by} name={by} type={by === "name" ? "text" : "password"} autocomplete={by === "name" ? "nickname" : "off"} dir="auto" value={text} aria-invalid={Boolean(wrong)} aria-describedby={wrong ? "wrong" : undefined}
          ref={(input) => input?.focus()} onInput={(event) => (by === "name" ? setName : setToken)(event.currentTarget.value)} />
        {wrong && <p class="wrong" id="wrong" role="alert">{wrong}</p>}
        <button class="primary" type="submit">Start chatting</button>
      </form>
    </main>
  );
}
