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

// Middle is the expression of a promise of the Point in the middle of the first element that
// matches a CSS selector, once it can be seen, its animations are over and it has stood still for
// two frames: what comes later than an element may move it, and a click would miss it. It fails
// after ten seconds.
func Middle(selector string) string {
	return fmt.Sprintf(`(async (selector) => {
	const frame = () => new Promise((go) => { requestAnimationFrame(go); setTimeout(go, 100); });
	const moves = (node) => node.getRootNode().getAnimations().some(({playState, effect}) =>
		playState === 'running' && effect.getComputedTiming().endTime < Infinity && effect.target.contains(node));
	const until = performance.now() + 10_000;
	for (let still = 0, before = ''; performance.now() < until; await frame()) {
		const node = document.querySelector(selector);
		if (!node?.checkVisibility({visibilityProperty: true})) { still = 0; continue; }
		node.scrollIntoViewIfNeeded?.();
		const {x, y, width, height} = node.getBoundingClientRect();
		const now = [x, y, width, height].join();
		still = now === before && width > 0 && !moves(node) ? still + 1 : 0;
		before = now;
		if (still >= 2) return {X: x + width / 2, Y: y + height / 2};
	}
	throw new Error('no ' + selector + ' that is seen and stands still');
})(%q)`, selector)
}

// Visible is the expression that says whether the first element that matches can be seen where
// it is, after a scroll if one is needed.
func Visible(selector string) string {
	return fmt.Sprintf(`((node) => Boolean(node?.checkVisibility({visibilityProperty: true})) && (node.scrollIntoViewIfNeeded?.(), node.getBoundingClientRect().width > 0))(document.querySelector(%q))`, selector)
}
