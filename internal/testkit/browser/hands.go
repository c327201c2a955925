package browser

import (
	"context"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// Click clicks the first element that matches a CSS selector, as a mouse would.
func (p *Page) Click(ctx context.Context, selector string) error {
	if err := p.Until(ctx, Visible(selector)); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	var at Point
	if err := p.Eval(ctx, Middle(selector), &at); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	if err := p.do(ctx, chromedp.MouseClickXY(at.X, at.Y)); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	return nil
}

// Hover moves the mouse to the middle of the first element that matches a CSS selector.
func (p *Page) Hover(ctx context.Context, selector string) error {
	var at Point
	if err := p.Eval(ctx, Middle(selector), &at); err != nil {
		return err
	}
	if err := p.do(ctx, chromedp.MouseEvent(chromedp.MouseMoved, at.X, at.Y)); err != nil {
		return fmt.Errorf("move to %s: %w", selector, err)
	}
	return nil
}

// Drag presses the left button at one point of the page, moves in steps to
// another and releases.
func (p *Page) Drag(ctx context.Context, fromX, fromY, toX, toY float64, steps int) error {
	mouse := func(kind input.DispatchMouseEventType, x, y float64, held int64) step {
		return chromedp.MouseEvent(kind, x, y, func(e *input.DispatchMouseEventParams) {
			e.Buttons = held
			if kind != chromedp.MouseMoved || held != 0 {
				e.Button, e.ClickCount = input.MouseButtonLeft, 1
			}
		})
	}
	way := []step{
		mouse(chromedp.MouseMoved, fromX, fromY, 0),
		mouse(chromedp.MousePressed, fromX, fromY, 1),
	}
	for i := 1; i <= steps; i++ {
		f := float64(i) / float64(steps)
		way = append(way, mouse(chromedp.MouseMoved, fromX+f*(toX-fromX), fromY+f*(toY-fromY), 1))
	}
	way = append(way, mouse(chromedp.MouseReleased, toX, toY, 0))
	if err := p.do(ctx, way...); err != nil {
		return fmt.Errorf("drag: %w", err)
	}
	return nil
}

// Touch has fingers on a touch screen go from one place to another each, in steps: they touch it
// together, and leave it together where lift says so.
func (p *Page) Touch(ctx context.Context, from, to []Point, steps int, lift bool) error {
	send := func(kind input.DispatchTouchEventType, part float64) error {
		fingers := []*input.TouchPoint{} // none are lifted
		for i := range from {
			if kind != input.DispatchTouchEventTypeTouchEnd {
				id := float64(i)
				fingers = append(fingers, &input.TouchPoint{
					X: from[i].X + part*(to[i].X-from[i].X), Y: from[i].Y + part*(to[i].Y-from[i].Y), ID: &id,
				})
			}
		}
		return call(ctx, p, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: fingers})
	}
	err := send(input.DispatchTouchEventTypeTouchStart, 0)
	for i := 1; i <= steps && err == nil; i++ {
		err = send(input.DispatchTouchEventTypeTouchMove, float64(i)/float64(steps))
	}
	if lift && err == nil {
		err = send(input.DispatchTouchEventTypeTouchEnd, 1)
	}
	if err != nil {
		return fmt.Errorf("touch: %w", err)
	}
	return nil
}

// wheel are the parameters of a wheel's event. The library's own leave out a zero, and Chromium
// wants both ways.
type wheel struct {
	Type   input.DispatchMouseEventType `json:"type"`
	X      float64                      `json:"x"`
	Y      float64                      `json:"y"`
	DeltaX float64                      `json:"deltaX"`
	DeltaY float64                      `json:"deltaY"`
}

// Wheel turns the wheel at a place, by CSS pixels.
func (p *Page) Wheel(ctx context.Context, at Point, dx, dy float64) error {
	command := cdp.Command[wheel, cdp.Empty]{Method: input.CommandDispatchMouseEvent}
	if err := call(ctx, p, command, wheel{input.DispatchMouseEventTypeMouseWheel, at.X, at.Y, dx, dy}); err != nil {
		return fmt.Errorf("turn the wheel: %w", err)
	}
	return nil
}

// Key presses and releases the keys of text, as a keyboard would.
func (p *Page) Key(ctx context.Context, text string) error {
	if err := p.do(ctx, chromedp.KeyEvent(text)); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	return nil
}
