/** Where this server's page, API and sockets begin, with a slash at the end. A reverse proxy may put them below a path. */
export const BASE = new URL(".", document.baseURI);

/** The path of `BASE` as the router wants it: without the slash, "/" at the root. */
export function basename(base: URL = BASE): string {
  return base.pathname.replace(/\/$/, "") || "/";
}
