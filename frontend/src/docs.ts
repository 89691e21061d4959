/** The page at /docs: the server's own description of its API, to read and to try. Shares nothing with the app. */
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import SwaggerUIBundle, { type Plugin } from "swagger-ui-dist/swagger-ui-es-bundle.js";

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function followScheme(): void {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

followScheme();
dark.addEventListener("change", followScheme);

/** What Swagger UI leaves out for those who do not see the page: landmarks, a level of headings, one thing per button. */
const wrapComponents: Plugin["wrapComponents"] = {
  InfoContainer: (Original, { React }) => (props) =>
    React.createElement("div", { role: "banner" }, React.createElement(Original, props)),
  operations: (Original, { React }) => (props) =>
    React.createElement(
      "div",
      null,
      React.createElement("h2", { className: "unseen" }, "Calls"),
      React.createElement(Original, props),
    ),
  // It stands inside the button that opens the call, and that changes the address as well.
  DeepLink: (_Original, { React }) => ({ text }) => React.createElement("span", null, text),
};

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  plugins: [() => ({ wrapComponents })],
  // The default asks a server on the internet whether the description is valid.
  validatorUrl: null,
});
