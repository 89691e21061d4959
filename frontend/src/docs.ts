/** The page at /docs: the server's own description of its API, to read and to try. Shares its colours with the app, and no code. */
import "swagger-ui-dist/swagger-ui.css";
import "./fonts.css";
import "./styles.css";
import "./docs.css";
import SwaggerUIBundle, { type Plugin } from "swagger-ui-dist/swagger-ui-es-bundle.js";

const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** As the app: what was chosen there, or else what the system prefers. */
function followScheme(): void {
  const chosen = localStorage.getItem("mantine-color-scheme-value");
  const isDark = chosen === "dark" || (chosen !== "light" && dark.matches);
  document.documentElement.classList.toggle("dark-mode", isDark);
  document.documentElement.dataset.mantineColorScheme = isDark ? "dark" : "light";
}

followScheme();
dark.addEventListener("change", followScheme);
window.addEventListener("storage", followScheme);

/** What Swagger UI leaves out for those who do not see the page: a landmark, a level of headings, one thing per button. */
const wrapComponents: Plugin["wrapComponents"] = {
  InfoContainer:
    (Original, { React }) =>
    (props) =>
      React.createElement("section", { "aria-label": "About" }, React.createElement(Original, props)),
  operations:
    (Original, { React }) =>
    (props) =>
      React.createElement(
        "div",
        null,
        React.createElement("h2", { className: "unseen" }, "Calls"),
        React.createElement(Original, props),
      ),
  // It stands inside the button that opens the call, and that changes the address as well.
  DeepLink:
    (_Original, { React }) =>
    ({ text }) =>
      React.createElement("span", null, text),
};

/** "GET /api/v1/models", by the call an element stands in; another heading where it stands in none. */
function callOf(element: Element): string {
  const call = element.closest(".opblock");
  const words = [".opblock-summary-method", ".opblock-summary-path"].map(
    (part) => call?.querySelector(part)?.textContent,
  );
  return call === null ? "the API" : words.join(" ");
}

/** Which parts of an opened call Swagger UI gives no name, and what they are. */
const UNNAMED: [selector: string, name: string][] = [
  ["textarea.body-param__text", "Body"],
  ["input[type=file]", "File"],
  [".parameters-col_description select, .body-param select", "Value"],
  ["select.examples-select-element", "Example"],
  ["table.responses-table.live-responses-table", "Answer"],
  ["table.responses-table", "Answers"],
];

/** Names what is opened, so that a screen reader tells one call's parts from another's, and lets the keyboard scroll code. */
function complete(): void {
  for (const [selector, name] of UNNAMED)
    for (const element of document.querySelectorAll(`:is(${selector}):not([aria-label])`))
      element.setAttribute("aria-label", `${name} of ${callOf(element)}`);
  for (const code of document.querySelectorAll("pre.microlight:not([tabindex])")) code.setAttribute("tabindex", "0");
}

new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });

/** Below the path of a reverse proxy, the calls are too; the description does not know of it. */
const base = new URL(".", window.location.href);

function belowBase(request: { url: string }): { url: string } {
  const url = new URL(request.url, base);
  if (url.origin === base.origin && !url.pathname.startsWith(base.pathname)) {
    url.pathname = base.pathname + url.pathname.slice(1);
    request.url = url.href;
  }
  return request;
}

SwaggerUIBundle({
  url: new URL("openapi.json", base).href,
  requestInterceptor: belowBase,
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  plugins: [() => ({ wrapComponents })],
  // The default asks a server on the internet whether the description is valid.
  validatorUrl: null,
});
