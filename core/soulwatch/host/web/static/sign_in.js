// @ts-check
// The address printed by `soulwatch login-code` carries the code behind a "#", which browsers send to nobody: it is
// taken from there, removed from the history and sent in the form.

const form = /** @type {HTMLFormElement} */ (document.getElementById("sign-in"));
const input = /** @type {HTMLInputElement} */ (document.getElementById("code"));

function takeCode() {
  const code = decodeURIComponent(location.hash.slice(1));
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  input.value = code;
  form.requestSubmit();
}

addEventListener("hashchange", takeCode);
takeCode();
