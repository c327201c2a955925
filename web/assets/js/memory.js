// memory.js: what survives a reload of the page: per tab and app, the way back
// to a running seat. sessionStorage may be refused (private modes, embedded
// pages); the player then works, and only the reload is not survived.

const key = (app) => `nearcast:session:${app}`;

export function recall(app) {
  try {
    const saved = JSON.parse(sessionStorage.getItem(key(app)));
    return saved?.grant?.resume && saved.urls?.length ? saved : null;
  } catch {
    return null;
  }
}

export function remember(app, saved) {
  try {
    sessionStorage.setItem(key(app), JSON.stringify(saved));
  } catch {
    // Without storage there is no coming back after a reload.
  }
}

export function forget(app) {
  try {
    sessionStorage.removeItem(key(app));
  } catch {
    // Nothing was stored either.
  }
}
