// awake.js: a person may watch for minutes without any input: the screen stays on.

export class Awake {
  constructor() {
    this.wanted = false;
    this.lock = null;
  }

  // begin is called again when the page is seen again: the browser let go meanwhile.
  async begin() {
    this.wanted = true;
    if (this.lock && !this.lock.released) return;
    try {
      const lock = await navigator.wakeLock?.request('screen');
      if (this.lock && !this.lock.released) return void lock.release();
      this.lock = lock;
      if (!this.wanted) this.end();
    } catch {
      // The screen may then dim as usual.
    }
  }

  end() {
    this.wanted = false;
    this.lock?.release().catch(() => {});
    this.lock = null;
  }
}
