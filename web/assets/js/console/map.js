// map.js: the sites on a map, with the round trips between them. The table beside it says the same.

import { el, svg } from '../ui/dom.js';
import { millis } from './format.js';
import { land, water, whereIs, windowOf, xy } from './world.js';

// links are the round trips between pairs of sites: [{from, to, rtt, measured}], each pair once. Of two
// measurements the one that a router made counts, then the smaller one.
export function links(sites) {
  const best = new Map();
  for (const site of sites) {
    for (const [to, d] of Object.entries(site.distances ?? {})) {
      if (to === site.site || !(d?.rtt_ms >= 0)) continue;
      const [from, end] = [site.site, to].sort();
      const link = { from, to: end, rtt: d.rtt_ms, measured: Boolean(d.measured), untrusted: d.untrusted ?? '' };
      const old = best.get(`${from} ${end}`);
      if (!old || link.measured > old.measured || (link.measured === old.measured && link.rtt < old.rtt)) best.set(`${from} ${end}`, link);
    }
  }
  return [...best.values()];
}

// placeOf is where a site is, [longitude, latitude], by its own word or by its name; null: not known.
export function placeOf(site) {
  if (typeof site.lat === 'number' && typeof site.lon === 'number') return [site.lon, site.lat];
  return whereIs(site.site);
}

// spots are the sites that can be drawn, {site, x, y}. Sites of one place stand beside each other.
export function spots(sites) {
  const taken = new Map();
  return sites.flatMap((site) => {
    const place = placeOf(site);
    if (!place) return [];
    const key = place.map(Math.round).join();
    const n = taken.get(key) ?? 0;
    taken.set(key, n + 1);
    const { x, y } = xy(place);
    return [{ site, x: x + n * 2.6, y }];
  });
}

// labels gives each spot the side on which its name overlaps nothing that came before: {side, dx, dy}, or null
// where there is no room. size is the height of letters, in the map's units, and within the part that is shown.
export function labels(places, size, within = { x: -Infinity, w: Infinity }) {
  const boxes = places.map(({ x, y }) => ({ x: x - size / 2, y: y - size / 2, w: size, h: size }));
  return places.map(({ x, y, site }) => {
    const w = site.site.length * size * 0.58;
    const gap = size * 0.8;
    for (const [anchor, dx, dy] of [['start', gap, size * 0.35], ['end', -gap, size * 0.35], ['middle', 0, -gap], ['middle', 0, size + gap * 0.6]]) {
      const box = { x: x + dx - (anchor === 'start' ? 0 : anchor === 'end' ? w : w / 2), y: y + dy - size, w, h: size * 1.2 };
      if (box.x < within.x || box.x + box.w > within.x + within.w) continue;
      if (boxes.some((b) => b.x < box.x + box.w && box.x < b.x + b.w && b.y < box.y + box.h && box.y < b.y + b.h)) continue;
      boxes.push(box);
      return { anchor, dx, dy };
    }
    return null;
  });
}

const toneOf = (site) => (!site.healthy ? 'bad' : site.waiting > 0 || site.unread?.length > 0 ? 'busy' : 'good');

// worldMap gives {node, update(sites), close()}. href(site) is where a site leads that is pressed.
export function worldMap({ href }) {
  const node = el('figure.map');
  const told = el('figcaption', { 'aria-live': 'off' });
  const phone = matchMedia('(max-width: 760px)');
  const turned = () => update(last);
  phone.addEventListener('change', turned);
  let last = [];
  let drawn = '';
  let chosen = '';

  function update(sites) {
    last = sites;
    const sorted = [...sites].sort((a, b) => a.site.localeCompare(b.site));
    const state = JSON.stringify([phone.matches, sorted.map((s) => [s.site, s.healthy, toneOf(s), placeOf(s), Object.entries(s.distances ?? {}).map(([to, d]) => [to, Math.round(d.rtt_ms)])])]);
    if (state === drawn) return;
    drawn = state;
    draw(sorted);
  }

  function draw(sites) {
    const places = spots(sites);
    const box = windowOf(places);
    const unit = (box.w / 100) * (phone.matches ? 1.7 : 1); // so that all looks the same, however much of the world is shown
    const by = new Map(places.map((p) => [p.site.site, p]));
    const lines = links(sites).flatMap((link) => {
      const [a, b] = [by.get(link.from), by.get(link.to)];
      return a && b ? [{ ...link, a, b }] : [];
    });
    const arcs = lines.map((l) => ({ ...l, d: arc(l) }));
    const paths = arcs.map((l) => svg('path', { d: l.d, class: `link${l.measured ? '' : ' guessed'}`, 'stroke-width': unit * 0.22 }));
    const names = labels(places, unit * 1.9, box);
    const dots = places.map((p, i) => {
      const label = names[i] ?? { dx: unit * 1.5, dy: unit * 0.7, anchor: 'start' };
      const rtt = svg('tspan', { class: 'rtt' });
      const text = svg('text', { x: label.dx, y: label.dy, 'text-anchor': label.anchor, 'font-size': unit * 1.9, class: names[i] ? 'name' : 'name spare' }, p.site.site, rtt);
      const link = svg('a', { href: href(p.site), class: 'site', 'data-tone': toneOf(p.site), 'data-site': p.site.site, transform: `translate(${p.x} ${p.y})`, 'aria-label': says(p.site) },
        svg('circle', { r: unit * 3, class: 'touch' }), svg('circle', { r: unit * 1.05, class: 'ring', 'stroke-width': unit * 0.35 }), svg('circle', { r: unit * 0.45, class: 'dot' }), text);
      for (const [on, site] of [['pointerenter', p.site.site], ['focus', p.site.site], ['pointerleave', ''], ['blur', '']]) link.addEventListener(on, () => light(site));
      return { link, rtt };
    });
    const picture = svg('svg', { viewBox: `${box.x} ${box.y} ${box.w} ${box.h}`, role: 'group', 'aria-label': 'Map of the sites. The table below has the same figures.' },
      svg('path', { d: land, class: 'land', 'stroke-width': unit * 0.12 }), svg('path', { d: water, class: 'water' }), ...paths, ...dots.map(({ link }) => link));

    // light shows the round trips from one site.
    function light(site) {
      chosen = site;
      node.classList.toggle('lit', Boolean(site));
      const rtts = new Map();
      for (const [i, l] of arcs.entries()) {
        const on = l.from === site || l.to === site;
        paths[i].classList.toggle('on', on);
        if (on) rtts.set(l.from === site ? l.to : l.from, l.rtt);
      }
      for (const [i, { rtt }] of dots.entries()) rtt.textContent = rtts.has(places[i].site.site) ? ` ${millis(rtts.get(places[i].site.site))}` : '';
      const one = sites.find((s) => s.site === chosen);
      told.textContent = one ? says(one) : resting(sites, places);
    }
    // Who was at a site with the keyboard stays there.
    const [lit, focused] = [chosen, node.contains(document.activeElement) ? document.activeElement.getAttribute('data-site') : null];
    node.replaceChildren(picture, told);
    light(by.has(lit) ? lit : '');
    dots.find(({ link }) => link.getAttribute('data-site') === focused)?.link.focus({ preventScroll: true });
  }
  return { node, update, close: () => phone.removeEventListener('change', turned) };
}

function says(site) {
  const from = Object.entries(site.distances ?? {}).sort(([, a], [, b]) => a.rtt_ms - b.rtt_ms).slice(0, 3).map(([to, d]) => `${to} ${millis(d.rtt_ms)}`);
  const state = site.healthy ? `${site.sessions} sessions, ${site.waiting} waiting` : `out of service: ${site.unhealthy || 'it does not answer'}`;
  return `${site.site}: ${state}${from.length > 0 ? `. Nearest: ${from.join(', ')}` : ''}`;
}

function resting(sites, places) {
  const lost = sites.filter((s) => !places.some((p) => p.site === s)).map((s) => s.site);
  const where = lost.length > 0 ? ` Not on the map, as their place is not known: ${lost.join(', ')}.` : '';
  return `Point at a site to see its round trips.${where}`;
}

// arc bends a line a little, so that lines of one direction can be told apart.
function arc({ a, b }) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const bend = 0.14 * (dx < 0 ? -1 : 1);
  const [cx, cy] = [(a.x + b.x) / 2 + dy * bend, (a.y + b.y) / 2 - dx * bend];
  return `M${a.x} ${a.y}Q${cx} ${cy} ${b.x} ${b.y}`;
}
