import type { HubAnswer, HubAttempt, SettingsChange, SettingsView, SystemInfo } from "../types/model";
import { request } from "./client";

export function getSystem(signal?: AbortSignal): Promise<SystemInfo> {
  return request("GET", "/system", { signal });
}

export function getSettings(signal?: AbortSignal): Promise<SettingsView> {
  return request("GET", "/settings", { signal });
}

/** Fields left out stay as they are; null takes a setting back to its default, a null `token` forgets it. */
export function putSettings(change: SettingsChange): Promise<SettingsView> {
  return request("PUT", "/settings", { body: change });
}

/** Asks a Hub now; what is left out is as the settings have it. Nothing is stored. */
export function testHub(attempt: HubAttempt): Promise<HubAnswer> {
  return request("POST", "/settings/test", { body: attempt });
}

/** Exchanges the server's key for a session cookie that scripts cannot read. */
export function signIn(apiKey: string): Promise<void> {
  return request("POST", "/session", { body: { api_key: apiKey } });
}

/** Forgets this browser's session cookie. */
export function signOut(): Promise<void> {
  return request("DELETE", "/session");
}
