// picture.js: an app's picture, or one drawn from its name where it has none.

import { el, svg } from './dom.js';

// picture gives an element that fills its box; broken URLs fall back too.
// A relative URL is one of the router, whose URL is src.
export function picture(app, { eager = false, src = '' } = {}) {
  const frame = el('div.picture', { 'aria-hidden': 'true' });
  if (!app.picture) {
    draw(frame, app);
    return frame;
  }
  const image = el('img', {
    alt: '', decoding: 'async', draggable: false, loading: eager ? 'eager' : 'lazy',
    onerror: () => { image.remove(); draw(frame, app); },
  });
  image.src = new URL(app.picture, src || location.href).href;
  frame.append(image);
  return frame;
}

// draw needs a module that few pages need. Without it there is a plain ground.
const draw = (frame, app) => import('./contours.js').then(({ contours }) => frame.append(contours(app.id || app.title, svg)), () => {});
