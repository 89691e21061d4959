import { expect, it } from "vitest";
import { system } from "../test/fixtures";
import { hubName, withHubName } from "./hubName";

const { hub } = system();
const SAMPLES = "http://127.0.0.1:45393/hub";
const builtin = { ...hub, endpoint: SAMPLES, endpoint_source: "builtin" as const };

it("names the built-in Hub while it is in use, and any other by its address", () => {
  expect(hubName(SAMPLES, builtin)).toBe("the built-in sample Hub");
  expect(hubName("http://127.0.0.1:9999/hub", builtin)).toBe("http://127.0.0.1:9999/hub");
  expect(hubName("https://huggingface.co", builtin)).toBe("https://huggingface.co");
});

it("knows it by the page's own address while another Hub is in use", () => {
  const { origin, port } = window.location;
  expect(hubName(`${origin}/hub`, hub)).toBe("the built-in sample Hub");
  expect(hubName(`http://127.0.0.1:${port}/hub`, undefined)).toBe("the built-in sample Hub");
  expect(hubName("http://127.0.0.1:9999/hub", hub)).toBe("http://127.0.0.1:9999/hub");
});

it("puts the name into what was said", () => {
  expect(withHubName(`There is no model 'a/b' on ${SAMPLES}.`, SAMPLES, builtin)).toBe(
    "There is no model 'a/b' on the built-in sample Hub.",
  );
  expect(withHubName(`${SAMPLES} does not answer.`, SAMPLES, builtin)).toBe("The built-in sample Hub does not answer.");
});
