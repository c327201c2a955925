package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// runSample registers a sample app of jobs/ as an operator does.
func runSample(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	id, err := site.RunSample(ctx, name)
	testkit.Must(t, err)
	t.Cleanup(func() { stopApp(t, id) })
	return id
}

// photograph keeps the page's picture where $NEARCAST_PICTURES says, for the README.
func photograph(ctx context.Context, t *testing.T, page *browser.Page, name string) {
	t.Helper()
	dir := os.Getenv("NEARCAST_PICTURES")
	if dir == "" {
		return
	}
	png, err := page.Screenshot(ctx)
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// look is what the page shows, as luminances.
func look(ctx context.Context, t *testing.T, page *browser.Page) []int {
	t.Helper()
	var pixels []int
	testkit.Must(t, page.Eval(ctx, picture, &pixels))
	return pixels
}

// The mouse turns a model that came from the S3 server.
func TestViewerTurnsTheModel(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runSample(ctx, t, "viewer")
	page := open(ctx, t, app)
	photograph(ctx, t, page, "ready")
	play(ctx, t, page)
	testkit.Must(t, page.Until(ctx, "(p => Math.max(...p) - Math.min(...p) > 30)("+picture+")"))

	before := look(ctx, t, page)
	testkit.Must(t, page.Drag(ctx, 640, 400, 800, 440, 20))
	testkit.Retry(ctx, t, "the picture turned", func() error {
		changed := 0
		for i, now := range look(ctx, t, page) {
			if d := before[i] - now; d > 8 || d < -8 {
				changed++
			}
		}
		if changed < 5 {
			return fmt.Errorf("dragging the mouse changed %d of %d places of the picture", changed, len(before))
		}
		return nil
	})
	photograph(ctx, t, page, "viewer")
}

// A game with sound: the picture moves by itself and audio arrives.
func TestGameHasSound(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runSample(ctx, t, "neverball")
	page := open(ctx, t, app)
	play(ctx, t, page)
	flows(ctx, t, page, 30)
	photograph(ctx, t, page, "neverball")
	const audible = `(async () => {
		const audio = document.querySelector('audio');
		const context = new AudioContext(), analyser = context.createAnalyser();
		context.createMediaStreamSource(audio.srcObject).connect(analyser);
		const samples = new Float32Array(analyser.fftSize);
		for (let i = 0; i < 100; i++) {
			await new Promise((r) => setTimeout(r, 50));
			analyser.getFloatTimeDomainData(samples);
			if (samples.some((s) => Math.abs(s) > 0.001)) return true;
		}
		return false;
	})()`
	var heard bool
	testkit.Must(t, page.Eval(ctx, audible, &heard))
	if !heard {
		t.Error("five seconds of the game were silent")
	}
}
