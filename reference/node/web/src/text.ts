// Messages are text. The only thing made of them is a link, and only of addresses of the web.

export type Piece = { text: string; href?: string };

const ADDRESS = /https?:\/\/[^\s<>"'`\u0000-\u001f]+/giu;
/** Punctuation that ends the sentence and not the address. A closing bracket belongs to it when one was opened. */
const TAIL = /[.,;:!?…)\]}»”’*_]$/u;
const OPENED_BY: Record<string, string> = { ")": "(", "]": "[", "}": "{" };

export function pieces(body: string): Piece[] {
  const found: Piece[] = [];
  let done = 0;
  for (const match of body.matchAll(ADDRESS)) {
    let address = match[0];
    for (let tail = TAIL.exec(address)?.[0]; tail; tail = TAIL.exec(address)?.[0]) {
      const opener = OPENED_BY[tail];
      if (opener && address.split(opener).length >= address.split(tail).length) break;
      address = address.slice(0, -tail.length);
    }
    if (!URL.canParse(address)) continue;
    if (match.index > done) found.push({ text: body.slice(done, match.index) });
    found.push({ text: address, href: address });
    done = match.index + address.length;
  }
  if (done < body.length) found.push({ text: body.slice(done) });
  return found;
}

/** One to three emoji and nothing else: shown large. */
export function isOnlyEmoji(body: string): boolean {
  const emoji = String.raw`(?:\p{Regional_Indicator}{2}|\p{Emoji_Presentation}|\p{Emoji}\uFE0F)(?:\p{Emoji_Modifier}|\uFE0F|\u200D\p{Emoji})*`;
  return new RegExp(`^(?:${emoji}\\s*){1,3}$`, "u").test(body.trim());
}

export function initials(name: string): string {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0]!, words.at(-1)!].map((word) => [...word][0]!) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toLocaleUpperCase();
}

/** One of the colours of `avatar-0` to `avatar-7`, the same for the same name everywhere. */
export function hue(name: string): number {
  let hash = 0;
  for (const unit of name) hash = (hash * 31 + unit.codePointAt(0)!) >>> 0;
  return ((hash ^ (hash >>> 13)) >>> 0) % 8;
}
