// icons.js: the icons, drawn on a 24 grid with one stroke width.

import { svg } from './dom.js';

const PATHS = {
  play: { fill: 'M8 5.2v13.6a.9.9 0 0 0 1.38.76l10.5-6.8a.9.9 0 0 0 0-1.52L9.38 4.44A.9.9 0 0 0 8 5.2Z' },
  again: { stroke: 'M4.5 12a7.5 7.5 0 1 0 2.4-5.5M4.5 4v4h4' },
  sound: { stroke: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4ZM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11' },
  muted: { stroke: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4ZM16 9.5l5 5m0-5-5 5' },
  full: { stroke: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5' },
  window: { stroke: 'M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5' },
  stats: { stroke: 'M4 19.5h16M6.5 16v-4M11 16V6M15.5 16v-6M20 16V8' },
  keyboard: { stroke: 'M3.5 6.5h17v11h-17ZM7 10h.01M10.5 10h.01M14 10h.01M17.3 10h.01M8 14h8' },
  help: { stroke: 'M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17ZM9.6 9.7a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2.9-1.2 1.8M12 16.7h.01' },
  end: { stroke: 'M12 3.5v8M7 6.2a7.5 7.5 0 1 0 10 0' },
  look: { stroke: 'M2.5 12S6 5.8 12 5.8 21.5 12 21.5 12 18 18.2 12 18.2 2.5 12 2.5 12ZM12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6Z' },
  mouse: { stroke: 'M12 3.5a5.5 5.5 0 0 1 5.5 5.5v6a5.5 5.5 0 0 1-11 0V9A5.5 5.5 0 0 1 12 3.5ZM12 7v3.5' },
  alert: { stroke: 'M12 8v5M12 16.5h.01M12 3.5 21.5 20h-19Z' },
  check: { stroke: 'm5 12.5 4.5 4.5L19 7.5' },
  minus: { stroke: 'M6.5 12h11' },
  copy: { stroke: 'M9 9V4.5h10.5V15H15M4.5 9H15v10.5H4.5Z' },
  paste: { stroke: 'M9 5H5.5v15h13V5H15M9 3.5h6v3.5H9ZM12 11v5.5m-2.5-2.5 2.5 2.5 2.5-2.5' },
  close: { stroke: 'm6.5 6.5 11 11m0-11-11 11' },
  move: { stroke: 'M5.5 5.5h.01M4 13.5c0 3 2.5 5 6 5h9.5m-4-4 4 4-4 4M5.5 2.8a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4Z' },
};

export function icon(name) {
  const { stroke, fill } = PATHS[name];
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' },
    fill ? svg('path', { d: fill, fill: 'currentColor' })
      : svg('path', { d: stroke, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.75, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' }));
}
