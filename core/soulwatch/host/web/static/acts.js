// @ts-check
// What the buttons do.

import { ask } from "./api.js";
import { distance } from "./clock.js";

const confirmation = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));

/** @param {string} path @returns {Promise<string>} */
async function poll(path) {
  /** @type {{ polls: { data_type: string, new: number, problem: string | null }[] }} */
  const { polls } = await ask("POST", `${path}/poll`, {});
  if (!polls.length) return "There was nothing to poll.";
  const problems = polls.filter((one) => one.problem).map((one) => `${one.data_type}: ${one.problem}`);
  const found = polls.filter((one) => !one.problem).map((one) => `${one.new} new in ${one.data_type}`);
  return [found.length ? `Polled: ${found.join(", ")}.` : "", ...problems].filter(Boolean).join(" ");
}

/** @param {string} path @returns {Promise<string>} */
async function refresh(path) {
  const before = await ask("GET", path);
  const { expires_at } = await ask("POST", `${path}/refresh`, {});
  if (!expires_at) return "This token does not expire.";
  // Too soon after the last time the host asks for none, and answers with what it has.
  const isNew = Date.parse(expires_at) !== Date.parse(before.token_expires_at);
  return `${isNew ? "Token refreshed; it" : "No new token was given; the present one"} expires ${distance(Date.parse(expires_at))}.`;
}

/** @param {string} path @returns {Promise<string>} */
async function disconnect(path) {
  const { revoked } = await ask("DELETE", path);
  return revoked
    ? "Disconnected, and revoked at the platform."
    : "Disconnected here. The platform did not confirm: revoke it in your account's settings there, too.";
}

const ACTS = { poll, refresh, disconnect };
const BUSY = { poll: "Polling…", refresh: "Refreshing…", disconnect: "Disconnecting…" };

/** @type {(isYes: boolean) => void} */
let decide = () => {};

// "close" comes a moment after the dialog is shut: by then the next question may be open, and this is not its answer.
confirmation.addEventListener("close", () => {
  if (!confirmation.open) decide(confirmation.returnValue === "yes");
});

/** @param {string} name @returns {Promise<boolean>} */
function isConfirmed(name) {
  decide(false);
  const title = confirmation.querySelector("h2");
  if (title) title.textContent = `Disconnect ${name}?`;
  confirmation.returnValue = "no";
  confirmation.showModal();
  return new Promise((resolve) => {
    decide = resolve;
  });
}

/** @param {HTMLButtonElement} button @param {() => void} onDone */
async function act(button, onDone) {
  const kind = /** @type {keyof typeof ACTS} */ (button.dataset.act);
  if (button.getAttribute("aria-busy") === "true") return;
  if (kind === "disconnect" && !(await isConfirmed(button.dataset.name ?? ""))) return;
  const card = button.closest("article")?.querySelector("output");
  const output = /** @type {HTMLElement} */ (kind === "disconnect" || !card ? document.getElementById("said") : card);
  output.classList.remove("is-bad");
  output.textContent = BUSY[kind];
  button.setAttribute("aria-busy", "true");
  try {
    output.textContent = await ACTS[kind](`/api/connections/${encodeURIComponent(button.dataset.connection ?? "")}`);
    if (kind === "disconnect") document.getElementById("connections-title")?.focus();
  } catch (error) {
    output.classList.add("is-bad");
    const message = error instanceof Error ? error.message : String(error);
    output.textContent = error instanceof TypeError ? "The host does not answer. Try again in a moment." : message;
  } finally {
    button.removeAttribute("aria-busy");
    onDone();
  }
}

/** @param {() => void} onDone called after each act */
export function bindButtons(onDone) {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-act]") : null;
    if (button instanceof HTMLButtonElement) void act(button, onDone);
  });
}
