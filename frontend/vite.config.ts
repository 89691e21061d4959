import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Tests of plain functions: all of `lib` but what reads where the document is. */
const FUNCTIONS = ["src/lib/!(base|hubName).test.ts"];

/** Tests of parts of the page: short, so that a process and a document for each file took most of their time. */
const PARTS = [
  "src/{api,hooks,lib,stores}/*.test.{ts,tsx}",
  "src/components/{common,layout,settings}/*.test.tsx",
  "src/components/models/{details,labels,list,local}/*.test.tsx",
];

const PAGE = { environment: "jsdom", setupFiles: ["src/test/setup.ts"] };

const api = process.env.MODELYARD_URL ?? "http://127.0.0.1:8000";

/** Puts a compressed copy beside every script and style sheet, so that the server need not compress while it runs. */
const compressed: Plugin = {
  name: "compressed",
  apply: "build",
  writeBundle: ({ dir = "" }, bundle) => {
    for (const [name, file] of Object.entries(bundle)) {
      if (!/\.(js|css)$/.test(name)) continue;
      const content = file.type === "chunk" ? file.code : file.source;
      writeFileSync(join(dir, `${name}.gz`), gzipSync(content, { level: 9 }));
    }
  },
};

export default defineConfig({
  // The server puts the page below any path, and says in <base> where it begins.
  base: "./",
  plugins: [react(), compressed],
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
      "/v1": { target: api },
      "/hub": { target: api },
      "/openapi.json": { target: api },
    },
  },
  test: {
    css: { modules: { classNameStrategy: "non-scoped" } },
    restoreMocks: true,
    testTimeout: 15_000,
    coverage: { include: ["src/**/*.{ts,tsx}"], reporter: ["text-summary", "html"] },
    // On a shared machine a slow moment is no fault; the report says what was run twice.
    retry: process.env.CI ? 1 : 0,
    // Left to itself, it keeps one of two cores idle.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: { ...PAGE, name: "page", include: ["src/**/*.test.{ts,tsx}"], exclude: [...FUNCTIONS, ...PARTS] },
      },
      // setup.ts gives each file modules of its own, so that they share only libraries and the document.
      { extends: true, test: { ...PAGE, name: "parts", include: PARTS, exclude: FUNCTIONS, isolate: false } },
      // They need neither a document nor a fresh process per file.
      { extends: true, test: { name: "functions", environment: "node", include: FUNCTIONS, isolate: false } },
    ],
  },
});
