/** The sections of the settings, in their order, by the part of the address that leads to them. */
export const SETTINGS_SECTIONS = {
  hub: "Hub",
  token: "Hub token",
  downloads: "Downloads",
  loading: "Loading",
  notifications: "Notifications",
  storage: "Storage",
  local: "Local models",
  api: "API",
  session: "Session",
  about: "About this server",
} as const;

export type SettingsSection = keyof typeof SETTINGS_SECTIONS;
