// view.js: what the person's window is like, for an app whose display follows it: told
// with each offer, so that the first frame has the right size, and at each change.

const SETTLE_MS = 150; // a window that is being dragged changes at each frame

// viewOf is wire.View: the size in device pixels, and how many of them are one pixel of
// the page. Null where there is no size yet.
export function viewOf({ width, height }, ratio) {
  const view = { width: Math.round(width * ratio), height: Math.round(height * ratio), scale: Math.round(ratio * 100) / 100 };
  return view.width * view.height * view.scale > 0 ? view : null;
}

export class View {
  // surface is what the picture fills.
  constructor(surface) {
    this.surface = surface;
    this.stop();
  }

  now() {
    return viewOf(this.surface.getBoundingClientRect(), window.devicePixelRatio || 1);
  }

  // start tells the view of now, and each later one, to a display that follows it.
  start(display, tell) {
    this.stop();
    if (!display?.max_width) return;
    const abort = this.abort = new AbortController();
    let timer;
    const look = () => {
      const view = this.now();
      const text = JSON.stringify(view);
      if (!view || abort.signal.aborted || text === this.told) return;
      this.told = text;
      tell(view);
    };
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(look, SETTLE_MS);
    };
    const observer = new ResizeObserver(soon);
    observer.observe(this.surface);
    abort.signal.addEventListener('abort', () => { observer.disconnect(); clearTimeout(timer); });
    // The ratio changes with the zoom, and on another screen, without another size.
    window.addEventListener('resize', soon, { signal: abort.signal });
    this.again = () => { // tells it once more: the channel was not open when it was told
      this.told = '';
      look();
    };
    look();
  }

  stop() {
    this.abort?.abort();
    this.again = () => {};
    this.told = '';
  }
}
