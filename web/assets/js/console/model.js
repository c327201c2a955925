// model.js: what the console knows of all sites, from the events of wire.ConsoleEvent. Pure.
//
//	const model = new Model();
//	model.apply('snapshot', event); // Set {'sites', 'sessions'}: the kinds that changed
//	model.sessions.get('s-eu-west-1-…').measured.rtt_ms
//
// Items are replaced whole and never changed, so that what was computed of one may be kept by it.

export const KINDS = ['sites', 'apps', 'nodes', 'sessions'];

const KEYS = {
  sites: (s) => s.site,
  apps: (a) => `${a.site}/${a.app}`,
  nodes: (n) => `${n.site}/${n.id}`,
  sessions: (s) => s.session,
};

export const keyOf = (kind, item) => KEYS[kind](item);

export class Model {
  sites = new Map();
  apps = new Map();
  nodes = new Map();
  sessions = new Map();
  complete = false; // a snapshot came, and all that belongs to it
  time = 0; // of the last event, by the service's clock; ms since 1970
  #named = null;

  // apply takes an event in and gives the kinds that changed. What is no event changes nothing.
  apply(name, event) {
    const changed = new Set();
    const snapshot = name === 'snapshot';
    if (!event || typeof event !== 'object' || (!snapshot && name !== 'change')) return changed;
    for (const kind of KINDS) {
      const items = this[kind];
      if (snapshot && items.size > 0) {
        items.clear();
        changed.add(kind);
      }
      for (const item of listOf(event[kind])) {
        items.set(keyOf(kind, item), item);
        changed.add(kind);
      }
      for (const key of listOf(event[`gone_${kind}`])) if (items.delete(key)) changed.add(kind);
    }
    const time = Date.parse(event.time);
    if (time > 0) this.time = time;
    if (snapshot) this.complete = false;
    if (!event.more) this.complete = true;
    if (changed.has('nodes')) this.#named = null;
    return changed;
  }

  // nodeOf finds the node on which a session runs.
  nodeOf(session) {
    if (!session.node) return undefined;
    this.#named ??= new Map([...this.nodes.values()].map((node) => [`${node.site}/${node.name}`, node]));
    return this.#named.get(`${session.site}/${session.node}`) ?? this.nodes.get(`${session.site}/${session.node}`);
  }
}

const listOf = (value) => (Array.isArray(value) ? value : []);
