import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const api = process.env.MODELYARD_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  base: "/",
  plugins: [react()],
  build: {
    outDir: "../backend/src/modelyard/web/static",
    emptyOutDir: true,
    target: "es2023",
    // swagger-ui, on the documentation's page only, is one large file.
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { input: ["index.html", "docs.html"] },
  },
  server: {
    host: "127.0.0.1",
    proxy: {
      "/api": { target: api, ws: true },
      "/hub": { target: api },
      "/openapi.json": { target: api },
    },
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/test/setup.ts"],
    css: { modules: { classNameStrategy: "non-scoped" } },
    restoreMocks: true,
    testTimeout: 15_000,
  },
});
