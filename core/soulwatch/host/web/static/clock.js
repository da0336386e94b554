// @ts-check
// Times told as distances from now, by the host's clock and in the host's words (wording.py, `distance`).

let ahead_ms = 0; // how far the host's clock is ahead of this browser's

/** @param {Document} page a page just received */
export function setClock(page) {
  const now = Date.parse(page.documentElement.dataset.now ?? "");
  if (!Number.isNaN(now)) ahead_ms = now - Date.now();
}

/** @param {number} seconds @param {boolean} isExact */
function span(seconds, isExact) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min` + (isExact && seconds % 60 ? ` ${seconds % 60} s` : "");
  if (seconds >= 172_800) return `${Math.floor(seconds / 86_400)} days`;
  const minutes = Math.floor((seconds % 3600) / 60);
  return `${Math.floor(seconds / 3600)} h` + (isExact && minutes ? ` ${minutes} min` : "");
}

/** @param {number} moment_ms */
export function distance(moment_ms) {
  const seconds = Math.round((moment_ms - Date.now() - ahead_ms) / 1000);
  if (seconds > 0) return `in ${span(seconds, true)}`;
  return seconds < -1 ? `${span(-seconds, false)} ago` : "just now";
}

/** Tell every time on the page anew. */
export function tick() {
  for (const time of document.querySelectorAll("time")) {
    const moment_ms = Date.parse(time.dateTime);
    const isAhead = moment_ms > Date.now() + ahead_ms;
    const text = ((isAhead ? time.dataset.future : time.dataset.past) ?? "{}").replace("{}", distance(moment_ms));
    if (time.textContent !== text) time.textContent = text;
  }
}
