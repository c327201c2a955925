// signal.js: the WebSocket to a brain. One JSON object a frame, as in
// internal/wire/signal.go. It carries control only; losing it loses no picture.

export const CLOSE_REPLACED = 4001;
export const CLOSE_ENDED = 4002;
export const CLOSE_REFUSED = 4003;

const CONNECT_TIMEOUT_MS = 5000;
// A brain hangs up on who has not said hello within ten seconds.
const WARM_MS = 8000;

let ahead = null; // {url, socket, timer}

// warmSignal connects before there is anything to say: opening takes two round
// trips and more, which are then over by the time a ticket is there. A call
// of openSignal for the same URL within eight seconds gets the connection.
export function warmSignal(url) {
  if (!url || (ahead?.url === url && ahead.socket.readyState <= WebSocket.OPEN)) return;
  coolSignal();
  try {
    const socket = new WebSocket(url);
    ahead = { url, socket, timer: setTimeout(coolSignal, WARM_MS) };
  } catch {
    // openSignal will say so.
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
    socket = take(url) ?? new WebSocket(url);
  } catch {
    // A URL that is none, or ws:// from a page loaded by https.
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
