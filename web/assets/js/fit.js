// fit.js: the picture's size where it has the window's pixels but for an odd one: each of its
// pixels is one of the screen's. Else the video element fills its box, and the style fits it.

export function fit({ stage: { surface, video }, hands: { pointer }, away: { signal } }) {
  const place = () => {
    const box = surface.getBoundingClientRect();
    const { left, top, width, height } = pointer.rect(box);
    // Of the box, as the page may draw the player larger or smaller.
    const part = (n, all) => (left > box.left || top > box.top ? '' : `${100 * n / all}%`);
    Object.assign(video.style, { width: part(width, box.width), height: part(height, box.height) });
  };
  const observer = new ResizeObserver(place);
  observer.observe(surface);
  signal.addEventListener('abort', () => observer.disconnect());
  // The ratio changes with the zoom, and on another screen, without another size.
  window.addEventListener('resize', place, { signal });
  video.addEventListener('resize', place, { signal });
}
