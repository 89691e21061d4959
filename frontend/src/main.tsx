import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./fonts.css";
import "./styles.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";
import { App } from "./App";
import { basename } from "./lib/base";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    {/* Filters live in the address: what is typed must be there before the next letter comes, or letters are lost. */}
    <BrowserRouter basename={basename()} useTransitions={false}>
      <App />
    </BrowserRouter>
  </StrictMode>,
);
