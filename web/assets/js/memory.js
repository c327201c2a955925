// memory.js: what survives a reload of the page: for each tab and app, how to go
// back to a running seat. sessionStorage may be refused (private modes, embedded
// pages); then the player works, but a reload loses the seat.

const MESSAGES = 'nearcast:messages';
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
    // Without storage a reload loses the seat.
  }
}

// messages is the store of a Messages.
export const messages = {
  got(session) {
    try {
      const saved = JSON.parse(sessionStorage.getItem(MESSAGES));
      return saved?.session === session && Number.isSafeInteger(saved.got) ? saved.got : 0;
    } catch {
      return 0;
    }
  },
  keep(session, got) {
    try {
      sessionStorage.setItem(MESSAGES, JSON.stringify({ session, got }));
    } catch {
      // After a reload a message may then come again.
    }
  },
};

export function forget(app) {
  try {
    sessionStorage.removeItem(key(app));
    sessionStorage.removeItem(MESSAGES);
  } catch {
    // Nothing was stored either.
  }
}
