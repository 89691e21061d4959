import { defineConfig } from "@playwright/test";

/** The server is started by whoever runs this and named in BASE_URL; nothing is downloaded to get a browser. */
export default defineConfig({
  testDir: "e2e",
  outputDir: process.env.PLAYWRIGHT_OUTPUT ?? "test-results",
  reporter: [["list"]],
  // One server holds one state, so specs run one after the other; the walk begins with an empty server.
  workers: 1,
  projects: [
    { name: "walk", testMatch: "walk.spec.ts" },
    { name: "states", testIgnore: "walk.spec.ts" },
  ],
  fullyParallel: false,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  use: {
    baseURL: process.env.BASE_URL ?? "http://127.0.0.1:8000",
    viewport: { width: 1440, height: 900 },
    trace: "retain-on-failure",
    // Nothing waits for what fades in or slides.
    contextOptions: { reducedMotion: "reduce" },
    // Something that lies in the way shall not use up the whole test's time.
    actionTimeout: 30_000,
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
