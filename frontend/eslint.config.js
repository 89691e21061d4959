import reactHooks from "eslint-plugin-react-hooks";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

/** A layer imports from those before it: types and lib, api, stores, hooks, components. */
const LAYERS = ["types|lib", "api", "stores", "hooks", "components"];

/** Inside components, too: common, then one feature beside the other, then panels and the frame around them. */
const FEATURES = ["models", "compare", "training", "settings"];

/** Forbids `files` to import from folders whose path matches one of `folders`. */
function contract(files, folders, message) {
  return {
    files,
    ignores: ["**/*.test.{ts,tsx}"],
    rules: {
      "no-restricted-imports": ["error", { patterns: [{ regex: `^\\.(.*)/(${folders.join("|")})/`, message }] }],
    },
  };
}

const contracts = [
  ...LAYERS.slice(0, -1).map((layer, index) =>
    contract(
      layer.split("|").map((folder) => `src/${folder}/**`),
      LAYERS.slice(index + 1),
      `Layers import one way: ${LAYERS.join(" <- ").replaceAll("|", ", ")}.`,
    ),
  ),
  contract(["src/components/common/**"], [...FEATURES, "panels", "layout"], "Common components know no feature."),
  ...FEATURES.map((feature) =>
    contract(
      [`src/components/${feature}/**`],
      [...FEATURES.filter((other) => other !== feature), "panels", "layout"],
      "Features do not import each other, nor the panels; what they share is in common.",
    ),
  ),
  contract(["src/components/panels/**"], ["layout"], "The frame imports the panels, never the other way."),
];

export default defineConfig([
  globalIgnores(["node_modules", "dist", "coverage", "test-results", "playwright-report", "src/types/openapi.gen.ts"]),
  {
    files: ["**/*.{ts,tsx}"],
    extends: [tseslint.configs.strictTypeChecked, reactHooks.configs.flat["recommended-latest"]],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      // The table and the grid own their scroll state; the compiler is not used here.
      "react-hooks/incompatible-library": "off",
    },
  },
  ...contracts,
]);
