// routers.js: the routers that can be asked: the one that the player was given, which is
// the page's own origin where its URL is '', and those of the other sites once GET /v1/sites has named them. The site that is lost may be
// the origin itself.

export class Routers {
  #known = new Map(); // site → {site, url, brain}
  #origin = '';       // the site of that router
  #rtts = {};
  #predicted = {};

  constructor(home = '') {
    this.home = home;
  }

  // learn takes a wire.SitesResponse that the router at base gave.
  learn({ entry, sites }, base = this.home) {
    const { home } = this;
    if (base === home && entry) this.#origin = entry;
    for (const s of sites ?? []) {
      const url = base === home && s.site === entry ? home : s.router_url || originOf(s.beacon_url);
      if (s.site === this.#origin && this.#known.get(s.site)?.url === home) {
        this.#known.get(s.site).brain = s.brain_url ?? '';
      } else if (url !== null) {
        this.#known.set(s.site, { site: s.site, url, brain: s.brain_url ?? '' });
      }
      if (s.site === entry && base === home) {
        this.#predicted = Object.fromEntries(Object.entries(s.distances ?? {}).map(([site, d]) => [site, d.rtt_ms]));
        this.#predicted[entry] = 0;
      }
    }
  }

  // measured takes round trips by site.
  measured(rtts) {
    this.#rtts = { ...this.#rtts, ...rtts };
  }

  // rtt is the measured round trip to a site, or 0.
  rtt(site) {
    return this.#rtts[site] ?? 0;
  }

  get(site) {
    return this.#known.get(site);
  }

  // order gives the routers, nearest first; those never measured as the
  // page's own router sees them, after the measured.
  order({ without = [] } = {}) {
    const place = ({ site }) => this.#rtts[site] ?? 1e6 + (this.#predicted[site] ?? 1e6);
    return [...this.#known.values()].filter((r) => !without.includes(r.site)).sort((a, b) => place(a) - place(b));
  }

  // homeFirst is order with the player's own router at the front: it answered a moment ago.
  homeFirst(options = {}) {
    const all = this.order(options);
    if (options.without?.includes(this.#origin)) return all;
    const others = all.filter((r) => r.url !== this.home);
    return [{ site: this.#origin, url: this.home }, ...others];
  }
}

function originOf(url) {
  try {
    return new URL(url).origin;
  } catch {
    return null;
  }
}

// hedged calls call(router, signal) with one router after the other: the next
// when the one before was silent for ms or could not be reached. The first
// answer counts, also where it says no, and the other requests are aborted.
export function hedged(routers, ms, call) {
  return new Promise((resolve, reject) => {
    const control = new AbortController();
    let turn = 0;
    let open = 0;
    let timer;
    const settle = (finish, value) => {
      clearTimeout(timer);
      finish(value);
      control.abort();
    };
    const next = () => {
      clearTimeout(timer);
      if (control.signal.aborted || turn >= routers.length) return;
      const router = routers[turn++];
      open += 1;
      call(router, control.signal).then((value) => settle(resolve, value), (error) => {
        open -= 1;
        if (control.signal.aborted) return;
        // It answered and refused; another would refuse too. A 503 may be about this router only.
        const final = error.problem?.status > 0 && !error.problem.type?.endsWith('/unavailable');
        if (final || (open === 0 && turn >= routers.length)) settle(reject, error);
        else next();
      });
      if (turn < routers.length) timer = setTimeout(next, ms);
    };
    if (routers.length === 0) reject(new Error('no router is known'));
    else next();
  });
}
