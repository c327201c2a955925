package firefox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// Eval evaluates a JavaScript expression as browser.Deep does, awaits it if it is a
// promise, and decodes its value into out (nil drops it).
func (p *Page) Eval(ctx context.Context, expression string, out any) error {
	// As text, so that every value comes in one way.
	text, err := p.evaluate(ctx, "(async () => JSON.stringify(await "+browser.Deep(expression)+") ?? 'null')()")
	if err != nil {
		return fmt.Errorf("evaluate %.80q: %w", expression, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal([]byte(text), out)
}

// Until waits until a JavaScript expression is true.
func (p *Page) Until(ctx context.Context, condition string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var ok bool
		err := p.Eval(ctx, "Promise.resolve("+condition+").then(Boolean)", &ok)
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s never became true: %w (last error %v; problems %q; the page shows %s)", condition, context.Cause(ctx), err, p.Problems(), p.shows())
		case <-tick.C:
		}
	}
}

// shows is what a person would read on the page now, and what the player says of itself.
func (p *Page) shows() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var text string
	if err := p.Eval(ctx, `JSON.stringify([document.body.innerText.slice(0, 600), window.nearcast ?? null])`, &text); err != nil {
		return "nothing: " + err.Error()
	}
	return text
}

func (p *Page) perform(ctx context.Context, source object) error {
	return p.conn.call(ctx, "input.performActions", object{"context": p.id, "actions": []object{source}}, nil)
}

func (p *Page) mouse(ctx context.Context, actions ...object) error {
	return p.perform(ctx, object{"type": "pointer", "id": "mouse", "parameters": object{"pointerType": "mouse"}, "actions": actions})
}

func to(at browser.Point) object {
	return object{"type": "pointerMove", "x": int(at.X), "y": int(at.Y)}
}

// Move moves the mouse to a point of the page.
func (p *Page) Move(ctx context.Context, at browser.Point) error { return p.mouse(ctx, to(at)) }

// ClickAt clicks there; button 2 is the right one.
func (p *Page) ClickAt(ctx context.Context, at browser.Point, button int) error {
	return p.mouse(ctx, to(at), object{"type": "pointerDown", "button": button}, object{"type": "pointerUp", "button": button})
}

// Click clicks the first element that matches a CSS selector, as a mouse would.
func (p *Page) Click(ctx context.Context, selector string) error {
	if err := p.Until(ctx, browser.Visible(selector)); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	var at browser.Point
	if err := p.Eval(ctx, browser.Middle(selector), &at); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	return p.ClickAt(ctx, at, 0)
}

// Wheel turns the wheel at a place, by CSS pixels.
func (p *Page) Wheel(ctx context.Context, at browser.Point, dx, dy int) error {
	scroll := object{"type": "scroll", "x": int(at.X), "y": int(at.Y), "deltaX": dx, "deltaY": dy}
	return p.perform(ctx, object{"type": "wheel", "id": "wheel", "actions": []object{scroll}})
}

// Keys of WebDriver that are no characters.
const (
	Control = "\ue009"
	Enter   = "\ue006"
	Tab     = "\ue004"
	F9      = "\ue039"
)

// Hold presses a key, and LetGo releases it.
func (p *Page) Hold(ctx context.Context, key string) error  { return p.key(ctx, "keyDown", key) }
func (p *Page) LetGo(ctx context.Context, key string) error { return p.key(ctx, "keyUp", key) }

func (p *Page) key(ctx context.Context, kind, key string) error {
	return p.perform(ctx, object{"type": "key", "id": "keyboard", "actions": []object{{"type": kind, "value": key}}})
}

// Press holds keys down one after the other, and lets them go in turn: Press(ctx, Control, "v").
func (p *Page) Press(ctx context.Context, keys ...string) error {
	var actions []object
	for _, key := range keys {
		actions = append(actions, object{"type": "keyDown", "value": key})
	}
	for i := len(keys) - 1; i >= 0; i-- {
		actions = append(actions, object{"type": "keyUp", "value": keys[i]})
	}
	return p.perform(ctx, object{"type": "key", "id": "keyboard", "actions": actions})
}
