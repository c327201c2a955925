// stage.js: the picture and the sound. Keeps the last picture visible while a
// connection is replaced.

import { el } from '../ui/dom.js';

export class Stage {
  constructor(label) {
    this.video = el('video', { part: 'video', playsInline: true, muted: true, autoplay: true, disablePictureInPicture: true, tabIndex: -1, 'aria-hidden': 'true' });
    this.still = el('canvas.still', { 'aria-hidden': 'true' });
    this.audio = el('audio', { autoplay: true });
    this.surface = el('div.surface', {
      tabIndex: 0, role: 'application',
      'aria-label': label,
    });
    this.node = el('div.stage', {}, this.video, this.still, this.audio, this.surface);
    this.onBlocked = () => {}; // told when the browser wants a click before sound
    this.onFrame = () => {}; // told of the first picture of a track that is drawn
    this.wait = 0;
    this.sound = null; // not attached yet
    this.live = false; // there is a picture
  }

  // show plays a track; whenLive is called once its first frame is there.
  show(track, whenLive) {
    const stream = new MediaStream([track]);
    if (track.kind === 'audio') {
      this.sound = stream;
      if (this.live) this.#hear();
      return;
    }
    this.live = false;
    const mine = ++this.wait;
    const live = () => {
      if (mine !== this.wait) return;
      this.wait += 1; // once
      this.still.classList.remove('shown');
      this.live = true;
      whenLive();
      this.#hear();
    };
    this.video.srcObject = stream;
    // A tab in the background does not draw, but it does decode: take the first of both.
    this.video.requestVideoFrameCallback?.((now, frame) => {
      this.onFrame(now, frame);
      live();
    });
    this.video.addEventListener('loadeddata', live, { once: true });
    this.video.play().catch(() => {}); // muted video may always play
  }

  // freeze keeps the present picture while the stream behind it is replaced.
  freeze() {
    const { videoWidth: w, videoHeight: h } = this.video;
    if (!w || !h) return;
    this.still.width = w;
    this.still.height = h;
    this.still.getContext('2d').drawImage(this.video, 0, 0, w, h);
    this.still.classList.add('shown');
  }

  clear() {
    this.wait += 1;
    this.still.classList.remove('shown');
    this.video.srcObject = null;
    this.audio.srcObject = null;
    this.sound = null;
    this.live = false;
  }

  // unlock is called from a click: from here on the browser lets sound through.
  unlock() {
    this.audio.muted = false;
    return this.listen();
  }

  // #hear attaches the sound, after the picture: Chromium blocks the page until its
  // audio service has started, which can take half a second.
  #hear() {
    if (!this.sound) return;
    this.audio.srcObject = this.sound;
    this.sound = null;
    this.listen();
  }

  // listen plays the sound, where the browser lets it.
  async listen() {
    try {
      await this.audio.play();
      this.onBlocked(false);
    } catch (error) {
      if (error.name === 'NotAllowedError') this.onBlocked(true);
    }
  }
}
