// geometry.js: where the picture is. The video element fills the window with bars
// around the picture; coordinates on the wire are 0..1 of the picture alone. Pure.

// pictureRect: the part of box {left, top, width, height} that a w x h picture
// fills when it is fitted inside with its aspect kept (object-fit: contain). A picture that has
// the box's pixels but for an odd one, since videos have even sizes, begins at its corner: to
// stretch or centre it would blur it (fit.js).
export function pictureRect(box, w, h, ratio = globalThis.devicePixelRatio || 1) {
  if (!(w * h * box.width * box.height > 0)) return box;
  const exact = Math.hypot(box.width * ratio - w, box.height * ratio - h) < 3;
  const scale = exact ? 1 / ratio : Math.min(box.width / w, box.height / h);
  const side = exact ? 0 : 0.5;
  const width = w * scale;
  const height = h * scale;
  return {
    left: box.left + (box.width - width) * side,
    top: box.top + (box.height - height) * side,
    width, height,
  };
}

const clamp = (v) => Math.min(1, Math.max(0, v));
const round = (v) => Math.round(v * 1e6) / 1e6; // finer than a pixel of any display

// toPicture maps a point of the page to the picture; inside says whether it
// was on it, or in the bars beside it.
export function toPicture(rect, x, y) {
  const px = (x - rect.left) / rect.width;
  const py = (y - rect.top) / rect.height;
  const inside = px >= 0 && px <= 1 && py >= 0 && py <= 1;
  return { x: round(clamp(px)), y: round(clamp(py)), inside };
}

// notches turns a WheelEvent into 120ths of a notch, positive down and right. Browsers
// say by wheelDelta what turned: a notched wheel gives 120 a notch, whatever the
// distance, which is a setting of the system; a trackpad or a fine wheel gives three times its distance.
export function notches(event, mac) {
  const mode = event.deltaMode; // first: Firefox then gives lines, which its wheels turn by
  const { deltaX, deltaY } = event;
  const dx = axis(deltaX, event.wheelDeltaX, mode);
  const dy = axis(deltaY, event.wheelDeltaY, mode);
  // With Shift, Macs turn a mouse's wheel sideways. The app has Shift too, and does so itself, or something
  // else. A mouse gives lines, or odd parts of a pixel there (4.000244140625), and a trackpad whole pixels.
  return mac && event.shiftKey && !dy && (mode || deltaX % 0.25) ? { dx: 0, dy: dx } : { dx, dy };
}

function axis(delta, wheelDelta, mode) {
  if (!delta) return 0;
  const fine = Math.abs(wheelDelta) === Math.round(3 * Math.abs(delta));
  if (wheelDelta && (mode || wheelDelta % 120 === 0 && !fine)) return -wheelDelta;
  if (mode === 1) return delta * 40; // three lines a notch
  if (mode === 2) return delta * 120;
  return delta * 1.2; // a hundred pixels a notch
}
