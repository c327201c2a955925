// marks.js: when each step from Play to the first picture ended, in ms after Play.

export class Marks {
  constructor() {
    this.at = {};
    this.playAt = undefined; // by performance.now()
    this.firstFrameMS = null;
    this.onFirst = () => {}; // told of the first picture: {ms, marks}
  }

  begin() {
    this.playAt = performance.now();
    this.at = {};
    this.firstFrameMS = null;
    performance.mark('nearcast:play');
  }

  // set notes a step, which ended at a time by performance.now(), the first time that it is called.
  set(name, now = performance.now()) {
    if (this.playAt === undefined || this.at[name] !== undefined) return;
    this.at[name] = Math.round((now - this.playAt) * 10) / 10;
    performance.mark(`nearcast:${name}`);
  }

  // firstFrame notes that there is a picture.
  firstFrame() {
    if (this.firstFrameMS !== null || this.playAt === undefined) return;
    this.set('firstFrame');
    this.firstFrameMS = this.at.firstFrame;
    this.onFirst({ ms: this.firstFrameMS, marks: this.at });
  }

  // drawn takes what requestVideoFrameCallback says of the first picture. Not every browser says
  // when its last packet came, and how long the decoder took (in s).
  drawn(now, { receiveTime, processingDuration, presentationTime }) {
    if (receiveTime) this.set('received', receiveTime);
    if (processingDuration) this.at.decoding ??= Math.round(processingDuration * 10_000) / 10;
    this.set('presented', presentationTime);
    this.set('drawn', now);
  }
}
