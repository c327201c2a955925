package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestDrivesAPage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<button onclick="clicks++">go</button><script>
			let clicks = 0, keys = '', way = [];
			addEventListener('keydown', e => keys += e.key);
			addEventListener('mousemove', e => { if (e.buttons) way.push([e.clientX, e.clientY]) });
			console.log('hello', 7);
		</script>`)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	b := Start(t)
	page, err := b.Open(ctx, server.URL, Size{Width: 390, Height: 844})
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { return page.Click(ctx, "button") },
		func() error { return page.Until(ctx, "clicks === 1") },
		func() error { return page.Key(ctx, "ab") },
		func() error { return page.Until(ctx, "keys === 'ab'") },
		func() error { return page.Drag(ctx, 100, 100, 200, 150, 4) },
		func() error { return page.Until(ctx, "way.length >= 4 && way.at(-1)[0] === 200") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	var width int
	if err := page.Eval(ctx, "Promise.resolve(innerWidth)", &width); err != nil || width != 390 {
		t.Errorf("innerWidth is %d (%v), want 390", width, err)
	}
	if log := page.Console(); len(log) != 1 || log[0] != `log "hello" 7` {
		t.Errorf("console: %q", log)
	}
	if png, err := page.Screenshot(ctx); err != nil || len(png) < 1000 {
		t.Errorf("screenshot of %d bytes: %v", len(png), err)
	}
	page.Close()

	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	other, err := b.Open(ctx, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Until(short, "false"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a condition that is never true: %v", err)
	}
}
