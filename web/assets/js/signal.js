// signal.js: the WebSocket to a brain. One JSON object a frame, as in
// internal/wire/signal.go. It carries signalling only; the picture survives its loss.

export const CLOSE_REPLACED = 4001;
export const CLOSE_ENDED = 4002;
export const CLOSE_REFUSED = 4003;

const CONNECT_TIMEOUT_MS = 5000;
// A brain closes a connection without hello after ten seconds.
const WARM_MS = 8000;

// Signals are the connections of one player: a page may have several.
export class Signals {
  #ahead = null; // {url, socket, timer}

  // warm connects ahead of time: to open takes two or more round trips, which
  // are then over when the ticket arrives. A call
  // of open for the same URL within eight seconds gets the connection.
  // The callbacks are optional.
  warm(url, { onOpen = null, onClose = null } = {}) {
    const ahead = this.#ahead;
    if (!url || (ahead?.url === url && ahead.socket.readyState <= WebSocket.OPEN)) return;
    this.cool();
    try {
      const socket = new WebSocket(url);
      this.#ahead = { url, socket, timer: setTimeout(() => this.cool(), WARM_MS) };
      socket.onopen = onOpen;
      socket.onclose = onClose;
    } catch {
      onClose?.(); // open will say so too
    }
  }

  // cool closes it, and calls nothing back.
  cool() {
    const socket = this.#take();
    if (!socket) return;
    socket.onclose = null;
    socket.close(1000);
  }

  #take(url = this.#ahead?.url) {
    if (!this.#ahead || this.#ahead.url !== url) return null;
    const { socket, timer } = this.#ahead;
    clearTimeout(timer);
    this.#ahead = null;
    return socket.readyState <= WebSocket.OPEN ? socket : null;
  }

  // open connects and calls back; after close() it calls nothing.
  open(url, { onOpen, onMessage, onClose }) {
    let live = true;
    let opened = false;
    let socket;
    const gone = (code) => {
      if (!live) return;
      live = false;
      clearTimeout(timer);
      onClose({ code, opened });
    };
    const timer = setTimeout(() => { socket?.close(); gone(1006); }, CONNECT_TIMEOUT_MS);
    const signal = {
      send(message) {
        if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
      },
      close() {
        live = false;
        clearTimeout(timer);
        socket?.close(1000);
      },
    };
    try {
      socket = this.#take(url) ?? new WebSocket(url);
    } catch {
      // An invalid URL, or ws:// from a page loaded by https.
      queueMicrotask(() => gone(1006));
      return signal;
    }
    const ready = () => {
      clearTimeout(timer);
      opened = true;
      if (live) onOpen();
    };
    if (socket.readyState === WebSocket.OPEN) queueMicrotask(ready);
    else socket.onopen = ready;
    socket.onmessage = (event) => {
      let message;
      try {
        message = JSON.parse(event.data);
      } catch { /* not a message of ours */ }
      if (live && typeof message?.type === 'string') onMessage(message);
    };
    socket.onclose = (event) => gone(event.code);
    return signal;
  }
}
