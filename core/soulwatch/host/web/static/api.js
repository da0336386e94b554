// @ts-check
// The HTTP API as this page uses it, on behalf of the signed-in operator.

const root = document.documentElement;
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const LONGEST_WAIT_MS = 120_000; // a poll of many pages takes its time

export const user = main.dataset.user ?? "";
export const signIn = main.dataset.signIn ?? "";

/** @param {string} path */
export const urlOf = (path) => (root.dataset.base ?? "") + path;

/** The host answered, and it was no. */
export class Refused extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether nobody is signed in any more. */
  get isSignedOut() {
    return this.status === 401;
  }
}

/** A form could not carry the token that shows the request to be meant. */
export const signOut = () =>
  fetch(urlOf("/sign-out"), { method: "POST", redirect: "manual", headers: { "X-CSRF-Token": main.dataset.csrf ?? "" } });

/**
 * What the host answers. Throws Refused, or TypeError where it does not answer.
 * @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>}
 */
export async function ask(method, path, body) {
  const answer = await fetch(urlOf(path), {
    method,
    cache: "no-store",
    headers: { "Accept": "application/json", "Content-Type": "application/json", "X-CSRF-Token": main.dataset.csrf ?? "" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(LONGEST_WAIT_MS),
  });
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(told?.detail ?? told?.title ?? `The host answered ${answer.status}.`, answer.status);
  return told;
}
