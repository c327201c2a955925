package web_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
)

// TestInFirefox has a person walk in Firefox where TestInTheBrowser does in Chromium. The video is VP8: Firefox decodes
// H.264 by a plugin alone, which it downloads.
func TestInFirefox(t *testing.T) {
	video := encodeVP8(t)
	fox := firefox.Start(t)
	for name, walk := range map[string]func(*visit){
		"play, wait, start, stream":        walkPlay,
		"hands reach the app":              walkInput,
		"people type in all languages":     walkTyping,
		"text is pasted and copied":        walkClipboard,
		"a game takes the mouse":           walkRelative,
		"page and app exchange messages":   walkMessages,
		"the picture drops and comes back": walkMediaLoss,
		"a player in a page of others":     walkEmbedded,
		"the player's languages":           walkLanguages,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testkit.Context(t, 2*time.Minute)
			page, err := fox.Open(ctx, "about:blank")
			testkit.Must(t, err)
			v := &visit{T: t, ctx: ctx, site: newSite(t, video), fox: page}
			v.site.codec = "VP8"
			t.Cleanup(func() { // also where the walk ends early: its page would go on to look for its site
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				testkit.Must(t, page.Close(ctx))
			})
			walk(v)
			for _, problem := range page.Problems() {
				if !strings.HasPrefix(problem, "Content-Security-Policy") { // the test's own policies
					t.Errorf("the page's console has in red: %s", problem)
				}
			}
		})
	}
}

func (v *visit) navigate(url string) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.Navigate(url))
		return
	}
	testkit.Must(v, v.fox.Go(v.ctx, url))
}

// before has a script run before those of each page of the visit.
func (v *visit) before(script string) {
	v.Helper()
	if v.fox == nil {
		command(v, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return
	}
	testkit.Must(v, v.fox.Before(v.ctx, script))
}

func (v *visit) reload() {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.Reload())
		return
	}
	testkit.Must(v, v.fox.Reload(v.ctx))
}

func (v *visit) size(width, height int64) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.EmulateViewport(width, height))
		return
	}
	testkit.Must(v, v.fox.Resize(v.ctx, browser.Size{Width: width, Height: height}))
}

// foxKeys are the keys that chromedp and WebDriver write in their own ways.
var foxKeys = strings.NewReplacer("\r", firefox.Enter, "\t", firefox.Tab, kb.F9, firefox.F9)

// keys presses the keys of these texts, as a keyboard does.
func (v *visit) keys(texts ...string) {
	v.Helper()
	for _, text := range texts {
		if v.fox == nil {
			v.do(chromedp.KeyEvent(text))
			continue
		}
		testkit.Must(v, v.fox.Press(v.ctx, foxKeys.Replace(text)))
	}
}

func (v *visit) moveTo(x, y float64) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.MouseEvent(chromedp.MouseMoved, x, y))
		return
	}
	testkit.Must(v, v.fox.Move(v.ctx, browser.Point{X: x, Y: y}))
}

func (v *visit) clickAt(x, y float64) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.MouseClickXY(x, y))
		return
	}
	testkit.Must(v, v.fox.ClickAt(v.ctx, browser.Point{X: x, Y: y}, 0))
}

func (v *visit) rightClickAt(x, y float64) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.MouseClickXY(x, y, chromedp.ButtonRight))
		return
	}
	testkit.Must(v, v.fox.ClickAt(v.ctx, browser.Point{X: x, Y: y}, 2))
}

// wheel is input.DispatchMouseEventParams with the zero that the browser insists on.
type wheel struct {
	Type   string  `json:"type"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	DeltaX float64 `json:"deltaX"`
	DeltaY float64 `json:"deltaY"`
}

func (v *visit) wheelAt(x, y float64, down int) {
	v.Helper()
	if v.fox == nil {
		command(v, cdp.Command[wheel, cdp.Empty]{Method: input.CommandDispatchMouseEvent}, wheel{Type: "mouseWheel", X: x, Y: y, DeltaY: float64(down)})
		return
	}
	testkit.Must(v, v.fox.Wheel(v.ctx, browser.Point{X: x, Y: y}, 0, down))
}
