// held.js: the sessions that pages of this browser hold, for its other pages: the home
// page offers to go back to one, also when its tab was closed by mistake. A record says
// how to resume, and until when the seat surely waits. localStorage may be refused; then
// nothing is offered.

const PREFIX = 'nearcast:held:';
const EVERY_MS = 5_000; // while a page holds a session, its record is written anew

const storage = () => {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
};

// open reads a record that is still good.
export function open(text, now = Date.now()) {
  try {
    const record = JSON.parse(text);
    return record?.grant?.resume && record.urls?.length && record.until > now ? record : null;
  } catch {
    return null;
  }
}

// heldApps are the apps of which a session is held, and their titles, by ID.
export function heldApps() {
  const apps = new Map();
  const store = storage();
  for (let i = 0; i < (store?.length ?? 0); i += 1) {
    const key = store.key(i);
    const record = key?.startsWith(PREFIX) && open(store.getItem(key));
    if (record) apps.set(key.slice(PREFIX.length), record.title);
  }
  return apps;
}

// withHeld adds the apps of which a session is held to a list that lacks some: the router lists
// none that needs a launch token or a login.
export const withHeld = (apps, held = heldApps()) => [
  ...apps,
  ...[...held].filter(([id]) => !apps.some((app) => app.id === id)).map(([id, title]) => ({ id, title })),
];

// heldSession is the session of an app that another page holds, or null.
export const heldSession = (app) => open(storage()?.getItem(PREFIX + app) ?? '');

// Holding keeps a record while a page holds a session.
export class Holding {
  constructor(app) {
    this.app = app;
    this.timer = 0;
    this.session = '';
    // The record outlives the page by the seat's grace.
    window.addEventListener('pagehide', () => this.write?.());
  }

  start({ grant, urls, launch }, title) {
    this.stop();
    this.session = grant.session;
    this.write = () => {
      const until = Date.now() + Math.max((grant.grace_s || 0) * 1000, 2 * EVERY_MS);
      try {
        storage()?.setItem(PREFIX + this.app, JSON.stringify({ grant, urls, site: launch?.site, title, until }));
      } catch {
        // Nothing is offered then.
      }
    };
    this.write();
    this.timer = setInterval(this.write, EVERY_MS);
  }

  stop() {
    clearInterval(this.timer);
    this.write = null;
  }

  // end forgets the session, unless another page has one now.
  end() {
    this.stop();
    if (heldSession(this.app)?.grant.session === this.session) storage()?.removeItem(PREFIX + this.app);
  }
}
