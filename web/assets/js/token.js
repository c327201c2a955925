// token.js: the launch token of a signed app, which its customer's page or link
// gives in the fragment: /play/viewer#token=…. It leaves the address bar at once, so
// that nobody copies it with the address, and stays with the tab: for a reload, and
// for a launch at another site. sessionStorage may be refused; then a reload asks
// for the link again.

const key = (app) => `nearcast:token:${app}`;
const held = new Map(); // app → token

// takeToken moves the token from the address to the tab. It reports whether there
// was one.
export function takeToken(app) {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return false;
  history.replaceState(history.state, '', location.pathname + location.search);
  held.set(app, token);
  try {
    sessionStorage.setItem(key(app), token);
  } catch {
    // It lasts until the next reload.
  }
  return true;
}

// tokenOf is the token for an app, or ''.
export function tokenOf(app) {
  try {
    return held.get(app) ?? sessionStorage.getItem(key(app)) ?? '';
  } catch {
    return '';
  }
}
