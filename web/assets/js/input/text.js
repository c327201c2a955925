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
  constructor({ surface, field, keyboard }) {
    Object.assign(this, { surface, field, keyboard });
    this.composing = false;
    const on = (type, handler) => surface.addEventListener(type, handler.bind(this));
    on('compositionstart', this.#began);
    on('compositionend', this.#ended);
    on('beforeinput', this.#wrote);
    on('input', this.#empty);
  }

  // focus gives the app the keyboard. Where the app has the mouse, nobody writes, but on
  // the screen keyboard (touch.js).
  focus() {
    const { surface, field } = this;
    (this.keyboard.raw && field.inputMode !== 'text' ? surface : field).focus({ preventScroll: true });
  }

  // place moves the field, and the windows of input methods with it, to a point of the page. What
  // the person composes there ends: its text comes before the click. A screen keyboard would go.
  place({ clientX, clientY }) {
    if (this.composing && this.field.inputMode !== 'text') this.surface.focus({ preventScroll: true });
    if (this.composing) return;
    const { left, top } = this.surface.getBoundingClientRect();
    this.field.style.left = `${clientX - left}px`;
    this.field.style.top = `${clientY - top}px`;
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
