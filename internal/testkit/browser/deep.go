package browser

import "fmt"

// Deep is a JavaScript expression in which document has what the players of the page show, too:
// they are in shadow roots, where the page's own document does not look. querySelector and
// querySelectorAll find there what they do not find in the page, activeElement and
// pointerLockElement are the innermost, and body.innerText and body.innerHTML end with what the
// players have.
func Deep(expression string) string {
	return "((document) => (" + expression + "))(" + deepDocument + ")"
}

const deepDocument = `((real) => {
	const roots = () => [...real.querySelectorAll('nearcast-player')].map((player) => player.shadowRoot).filter(Boolean);
	const inner = (name) => (start = real[name]) => { while (start?.shadowRoot?.[name]) start = start.shadowRoot[name]; return start; };
	const text = (name) => () => [real.body[name], ...roots().map((root) => [...root.children].map((node) => node[name]).join(''))].join('\n');
	const wrap = (target, own) => new Proxy(target, {
		get(_, name) {
			if (own[name]) return own[name]();
			const value = target[name];
			return typeof value === 'function' ? value.bind(target) : value;
		},
		set(_, name, value) { target[name] = value; return true; },
	});
	const body = () => real.body && wrap(real.body, { innerText: text('innerText'), innerHTML: text('innerHTML') });
	return wrap(real, {
		body,
		activeElement: inner('activeElement'), pointerLockElement: inner('pointerLockElement'),
		querySelector: () => (selector) => { for (const root of [real, ...roots()]) { const found = root.querySelector(selector); if (found) return found; } return null; },
		querySelectorAll: () => (selector) => [real, ...roots()].flatMap((root) => [...root.querySelectorAll(selector)]),
	});
})(globalThis.document)`

// Point is a place in the viewport, in CSS pixels.
type Point struct{ X, Y float64 }

// Middle is the expression that gives the Point in the middle of the first element that matches
// a CSS selector.
func Middle(selector string) string {
	return fmt.Sprintf(`(({x, y, width, height}) => ({X: x + width / 2, Y: y + height / 2}))(document.querySelector(%q).getBoundingClientRect())`, selector)
}

// Visible is the expression that says whether the first element that matches can be seen where
// it is, after a scroll if one is needed.
func Visible(selector string) string {
	return fmt.Sprintf(`((node) => Boolean(node?.checkVisibility({visibilityProperty: true})) && (node.scrollIntoViewIfNeeded?.(), node.getBoundingClientRect().width > 0))(document.querySelector(%q))`, selector)
}
