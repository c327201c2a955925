// memory.js: what survives a reload of the page: for each tab and player, how to go
// back to a running seat. A page may have several players of one app: each claims a name of
// its own, in the order in which they are shown, which is the same after a reload. sessionStorage may be refused (private modes, embedded
// pages); then the player works, but a reload loses the seat.

const claimed = new Set();

// claim gives a player its name; free gives it back.
export function claim(app, src) {
  const name = src ? `${app}@${src}` : app;
  let mine = name;
  for (let n = 2; claimed.has(mine); n += 1) mine = `${name}#${n}`;
  claimed.add(mine);
  return mine;
}

export const free = (name) => claimed.delete(name);

const key = (app) => `nearcast:session:${app}`;
const box = (app) => `nearcast:messages:${app}`;

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

// messages is the store of the Messages of a player.
export const messages = (player) => ({
  got(session) {
    try {
      const saved = JSON.parse(sessionStorage.getItem(box(player)));
      return saved?.session === session && Number.isSafeInteger(saved.got) ? saved.got : 0;
    } catch {
      return 0;
    }
  },
  keep(session, got) {
    try {
      sessionStorage.setItem(box(player), JSON.stringify({ session, got }));
    } catch {
      // After a reload a message may then come again.
    }
  },
});

export function forget(app) {
  try {
    sessionStorage.removeItem(key(app));
    sessionStorage.removeItem(box(app));
  } catch {
    // Nothing was stored either.
  }
}
