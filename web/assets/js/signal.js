// signal.js: the WebSocket to a brain. One JSON object a frame, as in
// internal/wire/signal.go. It carries signalling only; the picture survives its loss.

export const CLOSE_REPLACED = 4001;
export const CLOSE_ENDED = 4002;
export const CLOSE_REFUSED = 4003;

const CONNECT_TIMEOUT_MS = 5000;
// A brain closes a connection without hello after ten seconds.
const WARM_MS = 8000;

let ahead = null; // {url, socket, timer}

// warmSignal connects ahead of time: to open takes two or more round trips, which
// are then over when the ticket arrives. A call
// of openSignal for the same URL within eight seconds gets the connection.
// The callbacks are optional.
export function warmSignal(url, { onOpen = null, onClose = null } = {}) {
  if (!url || (ahead?.url === url && ahead.socket.readyState <= WebSocket.OPEN)) return;
  coolSignal();
  try {
    const socket = new WebSocket(url);
    ahead = { url, socket, timer: setTimeout(coolSignal, WARM_MS) };
    socket.onopen = onOpen;
    socket.onclose = onClose;
  } catch {
    onClose?.(); // openSignal will say so too
  }
}

export function coolSignal() {
  take()?.close(1000);
}

function take(url = ahead?.url) {
  if (!ahead || ahead.url !== url) return null;
  const { socket, timer } = ahead;
  clearTimeout(timer);
  ahead = null;
  return socket.readyState <= WebSocket.OPEN ? socket : null;
}

// openSignal connects and calls back; after close() it calls nothing.
export function openSignal(url, { onOpen, onMessage, onClose }) {
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
  try {
    socket = take(url) ?? new WebSocket(url);
  } catch {
    // An invalid URL, or ws:// from a page loaded by https.
    queueMicrotask(() => gone(1006));
    return { send() {}, close() { live = false; clearTimeout(timer); } };
  }
  const ready = () => {
    clearTimeout(timer);
    opened = true;
    if (live) onOpen();
  };
  if (socket.readyState === WebSocket.OPEN) queueMicrotask(ready);
  else socket.onopen = ready;
  socket.onmessage = (event) => {
    if (!live || typeof event.data !== 'string') return;
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // not a message of ours
    }
    if (message && typeof message.type === 'string') onMessage(message);
  };
  socket.onclose = (event) => gone(event.code);
  return {
    send(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    close() {
      live = false;
      clearTimeout(timer);
      socket.close(1000);
    },
  };
}
