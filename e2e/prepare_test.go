package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// twoIdle waits until an app has two idle seats, as the router tells pages.
func twoIdle(ctx context.Context, t *testing.T, app string) {
	t.Helper()
	testkit.Retry(ctx, t, "two seats are idle", func() error {
		c, err := capacity(ctx, app)
		if err == nil && (c.Idle != 2 || c.Busy != 0) {
			err = fmt.Errorf("the capacity is %+v", c)
		}
		return err
	})
}

// rest has the pointer rest on Play until a seat is prepared.
func rest(ctx context.Context, t *testing.T, page *browser.Page) {
	t.Helper()
	testkit.Must(t, page.Until(ctx, "nearcast.race?.leader && document.querySelector('.chip').innerText === 'Ready now'"))
	testkit.Must(t, page.Hover(ctx, ".play-button"))
	testkit.Must(t, page.Until(ctx, "nearcast.prepared"))
}

// The pointer rests on Play, and goes; nobody pays for that. Then it is pressed, and the picture
// is there.
func TestPreparePlay(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{"args": "-fps 30 -color black", "warm": "2", "max": "4"})
	twoIdle(ctx, t, app)
	page := open(ctx, t, app)
	rest(ctx, t, page)
	testkit.Must(t, page.Until(ctx, "!nearcast.prepared")) // after five seconds
	if n := len(children(t, app)); n != 2 {
		t.Errorf("%d seats were started for a person who did not press Play", n)
	}
	testkit.Must(t, page.Eval(ctx, "document.querySelector('.play-button').dispatchEvent(new PointerEvent('pointerleave'))", nil))
	twoIdle(ctx, t, app)
	rest(ctx, t, page)
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'ready' && nearcast.firstFrameMS === null"))
	play(ctx, t, page)
	var ms float64
	testkit.Must(t, page.Eval(ctx, "nearcast.firstFrameMS", &ms))
	t.Logf("Play → first frame in %v ms", ms)
	testkit.Must(t, page.Until(ctx, centre+" < 40"))
	testkit.Must(t, page.Key(ctx, "a"))
	testkit.Must(t, page.Until(ctx, centre+" > 200"))

	// Another person has the other seat, not prepared.
	other := open(ctx, t, app)
	testkit.Must(t, other.Eval(ctx, "document.querySelector('.play-button').click()", nil))
	testkit.Must(t, other.Until(ctx, "nearcast.state === 'streaming' && nearcast.seat"))
	var one, two string
	testkit.Must(t, page.Eval(ctx, "nearcast.seat", &one))
	testkit.Must(t, other.Eval(ctx, "nearcast.seat", &two))
	if one == "" || one == two {
		t.Errorf("two people have %q and %q", one, two)
	}
	leave(ctx, t, other)
	leave(ctx, t, page)
	ended(ctx, t, page)
}
