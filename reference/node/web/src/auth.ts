// The one place that knows how a person proves who they are: by a token that somebody signed, or by a name alone where the
// node believes names.

export interface Person {
  user: string;
  token?: string;
}

/** The `auth` object of the Socket.IO connection. */
export function credentials({ user, token }: Person): Record<string, unknown> {
  return token ? { token } : { user };
}

/** The person that a token names. Whether to believe it is the node's to say. */
export function personOf(token: string): Person | undefined {
  try {
    const claims = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(claims), (letter) => letter.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" && sub ? { user: sub, token } : undefined;
  } catch {
    return undefined;
  }
}

/** The token with which whoever signs it sends people here: `#token=…`, which browsers keep to themselves. */
export function tokenOf(fragment: string): string | undefined {
  return /^#token=([\w.-]+)$/.exec(fragment)?.[1];
}
