// asks.js: what the player asks the routers for a session.

import * as api from './api.js';
import { hedged } from './routers.js';
import { HEDGE_MS } from './verdict.js';

export const LAUNCH_HEDGE_MS = 1500; // a router that is silent for so long: ask the next one too
const BRAINS_EVERY_MS = { calm: 5000, waiting: 1000 }; // the list names one brain of a site at a time

export class Asks {
  // race() has the measured round trips, or is null; token() is the launch token, or ''; params()
  // the parameters that the page sets, or null.
  constructor({ app, routers, race, token = () => '', params = () => null }) {
    Object.assign(this, { app, routers, race, token, params });
    this.askedBrains = -Infinity;
  }

  // request is a wire.LaunchRequest.
  request(lost) {
    const rtts = { ...this.race()?.results() };
    for (const site of lost) delete rtts[site];
    const request = { app: this.app, rtt_ms: rtts };
    if (lost.length > 0) request.lost = lost;
    const params = this.params();
    if (params) request.params = params;
    return request;
  }

  // launch asks these routers, each so long after the one before.
  launch(lost = [], routers = this.#routers(lost), ms = LAUNCH_HEDGE_MS) {
    const request = this.request(lost);
    return hedged(routers, ms, ({ url }, signal) => api.launch(request, this.token(), signal, url));
  }

  // sites are all sites; the routers learn of one another from it.
  sites() {
    return hedged(this.routers.homeFirst(), LAUNCH_HEDGE_MS, async ({ url }, signal) => {
      const found = await api.listSites(signal, url);
      this.routers.learn(found, url);
      return found;
    });
  }

  probes(request) {
    return hedged(this.routers.homeFirst(), HEDGE_MS, ({ url }, signal) => api.probes(request, signal, url));
  }

  renew({ session, ticket }, lost) {
    return hedged(this.#routers(lost), LAUNCH_HEDGE_MS, ({ url }, signal) => api.renewTicket(session, ticket, signal, url));
  }

  // brains gives more brains of a site; none where it was asked a moment ago.
  async brains(site, { lost, waiting }) {
    const every = BRAINS_EVERY_MS[waiting ? 'waiting' : 'calm'];
    if (!site || performance.now() - this.askedBrains < every) return [];
    this.askedBrains = performance.now();
    const { sites } = await hedged(this.#routers(lost), LAUNCH_HEDGE_MS, ({ url }, signal) => api.listSites(signal, url));
    return (sites ?? []).filter((s) => s.site === site && s.brain_url).map((s) => s.brain_url);
  }

  #routers(lost) { return this.routers.homeFirst({ without: lost }); }
}
