// signal.js: the WebSocket to a brain. One JSON object a frame, as in
// internal/wire/signal.go. It carries control only; losing it loses no picture.

export const CLOSE_REPLACED = 4001;
export const CLOSE_ENDED = 4002;
export const CLOSE_REFUSED = 4003;

const CONNECT_TIMEOUT_MS = 5000;

// openSignal connects and calls back; after close() nothing is called any more.
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
    socket = new WebSocket(url);
  } catch {
    // A URL that is none, or ws:// from a page loaded by https.
    queueMicrotask(() => gone(1006));
    return { send() {}, close() { live = false; clearTimeout(timer); } };
  }
  socket.onopen = () => {
    clearTimeout(timer);
    opened = true;
    if (live) onOpen();
  };
  socket.onmessage = (event) => {
    if (!live || typeof event.data !== 'string') return;
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // not ours; the next one may be
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
