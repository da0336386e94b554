// @ts-check
// Hears of events: over a WebSocket, over plain requests where sockets are blocked, and again after each interruption
// from where it was.

import { Refused, ask, urlOf, user } from "./api.js";

const BEAT_MS = 20_000;
const OPEN_WITHIN_MS = 10_000;
const LONGEST_PAUSE_S = 30;
const BLOCKED_AFTER = 3; // sockets that did not open although the host answers
const ASK_EVERY_MS = 4_000;
const ASKS_BETWEEN_SOCKETS = 15;

/** @typedef {"waiting" | "live" | "slow" | "away" | "out"} State */

let last = Number(document.getElementById("events")?.dataset.last ?? 0);
let cutPauseShort = () => {};

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    cutPauseShort = () => {
      clearTimeout(timer);
      resolve(undefined);
    };
  });
}

/** Try again now. */
export const hurry = () => cutPauseShort();

/**
 * Listen for ever.
 * @param {() => void} onNews something happened @param {(state: State) => void} onState how listening goes
 */
export async function listen(onNews, onState) {
  addEventListener("online", hurry);
  let tries = 0;
  for (;;) {
    const end = await once(onNews, onState);
    if (end === "out") return onState("out");
    tries = end === "lost" ? 1 : tries + 1;
    if (end === "blocked" && tries >= BLOCKED_AFTER) {
      await askAround(onNews, onState);
      continue;
    }
    onState(end === "away" ? "away" : "waiting");
    await pause(Math.min(2 ** tries, LONGEST_PAUSE_S) * 500 * (1 + Math.random()));
  }
}

/** @param {() => void} onNews @param {(state: State) => void} onState */
async function once(onNews, onState) {
  try {
    const { ticket } = await ask("POST", "/api/ws-tickets", { user });
    return await hear(ticket, onNews, onState);
  } catch (error) {
    return error instanceof Refused && error.isSignedOut ? "out" : "away";
  }
}

/**
 * One socket, until it closes.
 * @param {string} ticket @param {() => void} onNews @param {(state: State) => void} onState
 * @returns {Promise<"lost" | "blocked">}
 */
function hear(ticket, onNews, onState) {
  return new Promise((resolve) => {
    const address = new URL(urlOf("/ws"), location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, ["soulwatch.v1"]);
    let isReady = false;
    let isSilent = false;
    const end = () => {
      clearInterval(beat);
      clearTimeout(opening);
      socket.onclose = socket.onmessage = null;
      socket.close();
      resolve(isReady ? "lost" : "blocked");
    };
    const opening = setTimeout(end, OPEN_WITHIN_MS);
    // A dead way is noticed by an unanswered ping; the browser itself may wait for minutes.
    const beat = setInterval(() => {
      if (isSilent) return end();
      isSilent = true;
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "ping" }));
    }, BEAT_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", ticket, after: last }));
    socket.onclose = end;
    socket.onmessage = (message) => {
      isSilent = false;
      const told = JSON.parse(message.data);
      if (told.type === "ready") {
        isReady = true;
        clearTimeout(opening);
        onState("live");
        onNews();
      } else if (typeof told.seq === "number" || told.type === "resync") {
        last = told.seq ?? told.last;
        onNews();
      }
    };
  });
}

/** @param {() => void} onNews @param {(state: State) => void} onState */
async function askAround(onNews, onState) {
  onState("slow");
  for (let turn = 0; turn < ASKS_BETWEEN_SOCKETS; turn++) {
    try {
      const { events } = await ask("GET", `/api/events?user=${encodeURIComponent(user)}&after=${last}&limit=500`);
      if (events.length) {
        last = events.at(-1).seq;
        onNews();
      }
    } catch {
      return;
    }
    await pause(ASK_EVERY_MS);
  }
}
