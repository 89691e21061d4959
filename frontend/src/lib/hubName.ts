import type { SystemInfo } from "../types/model";
import { BASE } from "./base";
import { sentence } from "./labels";

const BUILTIN = "the built-in sample Hub";

type HubInUse = SystemInfo["hub"] | undefined;

/** A Hub as people know it: its address, but the built-in one's is a port of this server that says nothing. */
export function hubName(endpoint: string, inUse: HubInUse): string {
  return isBuiltin(endpoint, inUse) ? BUILTIN : endpoint;
}

/** What was said of a Hub, with its name in place of its address. */
export function withHubName(message: string, endpoint: string, inUse: HubInUse): string {
  return sentence(message.replaceAll(endpoint, hubName(endpoint, inUse)));
}

function isBuiltin(endpoint: string, inUse: HubInUse): boolean {
  if (inUse?.endpoint_source === "builtin") return endpoint === inUse.endpoint;
  // Not told: it is below the server's own address, which may be another than the page's for the same server.
  const { port } = window.location;
  const servers = [BASE.href, `http://127.0.0.1:${port}/`, `http://localhost:${port}/`];
  return servers.some((server) => endpoint === `${server}hub`);
}
