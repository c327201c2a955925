// text.js: text of input methods, dead keys, emoji panels and screen keyboards. They
// write only into a field. So a field has the focus, empty and unseen; what they write
// goes to the app when it is final. While a person composes, the field shows what the
// app does not have yet, where they last clicked.

const KEYS = {
  deleteContentBackward: 'Backspace', deleteWordBackward: 'Backspace', deleteSoftLineBackward: 'Backspace',
  deleteContentForward: 'Delete', deleteWordForward: 'Delete',
  insertLineBreak: 'Enter', insertParagraph: 'Enter',
};

export class TextField {
  // surface has the field in it; keyboard has tap() and text().
  constructor({ surface, field, keyboard, touchy = false }) {
    Object.assign(this, { surface, field, keyboard, touchy });
    this.composing = false;
    const on = (type, handler) => surface.addEventListener(type, handler.bind(this));
    on('compositionstart', this.#began);
    on('compositionend', this.#ended);
    on('beforeinput', this.#wrote);
    on('input', this.#empty);
  }

  // focus gives the app the keyboard. With a finger, the field would open the screen
  // keyboard; where the app has the mouse, nobody writes.
  focus() {
    const to = this.touchy || this.keyboard.raw ? this.surface : this.field;
    if (this.touchy && this.#focused() === this.field && !this.keyboard.raw) return;
    to.focus({ preventScroll: true });
  }

  // toggle shows or hides the screen keyboard.
  toggle() {
    if (this.#focused() === this.field) this.surface.focus({ preventScroll: true });
    else this.field.focus({ preventScroll: true });
  }

  #focused() {
    return this.surface.getRootNode().activeElement;
  }

  // place moves the field, and the windows of input methods with it, to a point of the page.
  place({ clientX, clientY }) {
    if (this.composing) return;
    const { left = 0, top = 0 } = this.surface.getBoundingClientRect();
    const [x, y] = [clientX - left, clientY - top];
    this.field.style.left = `${Math.round(x)}px`;
    this.field.style.top = `${Math.round(y)}px`;
  }

  #began() {
    this.composing = true;
    this.field.classList.add('composing');
  }

  #ended(event) {
    this.composing = false;
    this.field.classList.remove('composing');
    if (event.data) this.keyboard.text(event.data);
    setTimeout(() => this.#empty()); // some browsers still write into it
  }

  #wrote(event) {
    const { inputType } = event;
    if (this.composing || event.isComposing || /Composition/.test(inputType)) return; // the end of it has the text
    event.preventDefault();
    if (KEYS[inputType]) return this.keyboard.tap(KEYS[inputType], KEYS[inputType]);
    const text = event.data ?? event.dataTransfer?.getData('text/plain');
    if (text) this.keyboard.text(text);
  }

  #empty() {
    if (!this.composing) this.field.value = '';
  }
}
