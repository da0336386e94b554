// @ts-check
// Keeps the page up to date in place. The server alone knows how things look: whenever something happened the page
// is fetched again and patched in, soon, but never so often that it keeps the host busy.

import { bindButtons } from "./acts.js";
import { signIn, signOut, urlOf, user } from "./api.js";
import { setClock, tick } from "./clock.js";
import { hurry, listen } from "./live.js";
import { patchParts } from "./patch.js";

const REST_MS = 1000;
const LONGEST_WAIT_MS = 30_000; // a request that is never answered would be the last one
const NOTICE_MS = 20_000;
const REST_FACTOR = 4; // a slow host is asked less often

const STATES = {
  waiting: "Starting",
  live: "Live",
  slow: "Delayed",
  away: "Offline",
  out: "Signed out",
};

const here = `${urlOf("/")}?user=${encodeURIComponent(user)}`;
const pill = /** @type {HTMLElement} */ (document.getElementById("live"));
const away = /** @type {HTMLElement} */ (document.getElementById("away"));
const pauseButton = /** @type {HTMLButtonElement} */ (document.getElementById("pause"));

let isPaused = false;
let isWanted = false;
let isRenewing = false;
/** @type {import("./live.js").State} */
let state = "waiting";

async function renew() {
  isWanted = true;
  if (isRenewing) return;
  isRenewing = true;
  while (isWanted && !isPaused && !document.hidden) {
    isWanted = false;
    const began = performance.now();
    // The socket tells whether the host is away; while it is not, what failed is tried again.
    await fetchPage().catch(() => (isWanted ||= state === "live"));
    await new Promise((resolve) => setTimeout(resolve, Math.max(REST_MS, REST_FACTOR * (performance.now() - began))));
  }
  isRenewing = false;
}

async function fetchPage() {
  const signal = AbortSignal.timeout(LONGEST_WAIT_MS);
  const answer = await fetch(here, { cache: "no-store", headers: { Accept: "text/html" }, signal });
  if (answer.redirected || answer.status === 401) return show("out");
  if (!answer.ok) throw new Error(`The host answered ${answer.status}.`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  setClock(page);
  patchParts(page);
  tick();
}

/** @param {import("./live.js").State} now */
function show(now) {
  state = now;
  pill.dataset.state = isPaused ? "waiting" : now;
  const text = isPaused ? "Paused" : STATES[now];
  if (pill.textContent !== text) pill.textContent = text;
  if (now === "away" || now === "out") sayAway(now);
  else if (now === "live" || now === "slow") away.hidden = true;
}

/** @param {"away" | "out"} why */
function sayAway(why) {
  if (!away.hidden && away.dataset.why === why) return;
  const way = document.createElement(why === "out" ? "a" : "button");
  if (way instanceof HTMLAnchorElement) way.href = signIn;
  else way.addEventListener("click", hurry);
  way.textContent = why === "out" ? "Sign in again" : "Try now";
  const text = why === "out"
    ? "You are signed out. What is shown may be out of date. "
    : "The host does not answer. What is shown may be out of date; it is tried again by itself. ";
  away.dataset.why = why;
  away.replaceChildren(text, way);
  away.hidden = false;
}

pauseButton.addEventListener("click", () => {
  isPaused = !isPaused;
  pauseButton.textContent = isPaused ? "Go on" : "Pause";
  show(state);
  if (!isPaused) void renew();
});

document.getElementById("leave")?.addEventListener("click", async () => {
  await signOut().catch(() => {});
  location.assign(signIn); // where nobody is signed out yet, it leads back here
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  hurry();
  if (isWanted) void renew();
});

document.documentElement.classList.add("has-script");
setTimeout(() => document.getElementById("notice")?.remove(), NOTICE_MS);
history.replaceState(null, "", here + location.hash); // what a connect flow said once is not said again on reload
setClock(document);
setInterval(tick, 1000);
bindButtons(() => void renew());
void listen(() => void renew(), show);
