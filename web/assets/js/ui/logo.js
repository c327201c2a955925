// logo.js: the wordmark: you, the site, and the short way between.

import { el, svg } from './dom.js';

export function mark() {
  return svg('svg', { viewBox: '0 0 24 24', class: 'mark', 'aria-hidden': 'true' },
    svg('path', { d: 'M8.2 15.8l4.7-4.7', stroke: 'currentColor', 'stroke-width': 2, 'stroke-linecap': 'round' }),
    svg('circle', { cx: 6, cy: 18, r: 3.2, fill: 'currentColor' }),
    svg('circle', { cx: 16.6, cy: 7.4, r: 5, fill: 'none', stroke: 'var(--lamp)', 'stroke-width': 2.4 }));
}

export function wordmark(href = '/') {
  return el('a.wordmark', { href, 'aria-label': 'Nearcast, all apps' }, mark(), el('span', {}, 'nearcast'));
}
