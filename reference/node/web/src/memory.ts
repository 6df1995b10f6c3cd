// What the browser keeps: the name, the rooms, how far one has read, drafts. All of it may be missing or refused.

function parse<T>(text: string | null, otherwise: T): T {
  try {
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function recall<T>(key: string, otherwise: T, storage = localStorage): T {
  return parse(storage.getItem(`squall.${key}`), otherwise);
}

/** False when the browser refuses: full, or not allowed. */
export function keep(key: string, value: unknown, storage = localStorage): boolean {
  try {
    if (value === undefined) storage.removeItem(`squall.${key}`);
    else storage.setItem(`squall.${key}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function keysBelow(prefix: string): string[] {
  const full = `squall.${prefix}`;
  return Object.keys(localStorage).filter((key) => key.startsWith(full)).map((key) => key.slice("squall.".length));
}

/** An id nobody else draws. `crypto.randomUUID` exists in secure contexts only, and a node may be on plain http. */
export function freshId(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
