/** The `auth` object of the Socket.IO connection. The one place that knows how a person proves who they are. */
export async function credentials(user: string): Promise<Record<string, unknown>> {
  return { user };
}
