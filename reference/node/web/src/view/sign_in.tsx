import { useState } from "preact/hooks";

import { bytes, USER_MAX_BYTES } from "../protocol";

export function SignIn({ known, why, enter }: { known: string; why: string | undefined; enter: (name: string) => void }) {
  const [name, setName] = useState(known);
  const [wrong, setWrong] = useState(why);
  const submit = (event: Event) => {
    event.preventDefault();
    const wanted = name.trim();
    if (!wanted) return setWrong("Please enter a name.");
    if (bytes(wanted) > USER_MAX_BYTES) return setWrong("This name is too long.");
    enter(wanted);
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit} noValidate>
        <img src="/favicon.svg" width="48" height="48" alt="" />
        <h1>Welcome to Squall chat</h1>
        <p>Choose the name that others will see.</p>
        <label for="name">Your name</label>
        <input id="name" name="name" type="text" autocomplete="nickname" dir="auto" value={name} aria-invalid={Boolean(wrong)} aria-describedby={wrong ? "wrong" : undefined}
          ref={(input) => input?.focus()} onInput={(event) => setName(event.currentTarget.value)} />
        {wrong && <p class="wrong" id="wrong" role="alert">{wrong}</p>}
        <button class="primary" type="submit">Start chatting</button>
      </form>
    </main>
  );
}
