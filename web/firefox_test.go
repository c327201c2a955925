package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
	walkFirefox(t, firefox.Start(t), "", map[string]func(*visit){
		"play, wait, start, stream":                  walkPlay,
		"hands reach the app":                        walkInput,
		"people type in all languages":               walkTyping,
		"a Mac's keys":                               walkMac,
		"text is pasted and copied":                  walkClipboard,
		"HTML and pictures are pasted and copied":    walkClipKinds,
		"a game takes the mouse":                     walkRelative,
		"an app takes the mouse in mid-session":      walkAuto,
		"a locked mouse at players of several sizes": walkLocked,
		"wheels and trackpads":                       walkWheel,
		"gamepads reach the app, and shake":          walkGamepads,
		"a display that follows the window":          walkWindow,
		"page and app exchange messages":             walkMessages,
		"the picture drops and comes back":           walkMediaLoss,
		"a player in a page of others":               walkEmbedded,
		"the player's languages":                     walkLanguages,
	})
}

// A Firefox with a window has real notches of a wheel, and pictures in its clipboard.
func TestInFirefoxOnAScreen(t *testing.T) {
	if _, err := exec.LookPath("xdotool"); err != nil {
		t.Skip("xdotool is not installed")
	}
	display, _ := testkit.Xvfb(t, nil, "-screen", "0", "1600x1200x24")
	walkFirefox(t, firefox.StartOn(t, display), display, map[string]func(*visit){
		"HTML and pictures are pasted and copied": walkClipKinds,
		"wheels and trackpads":                    walkWheel,
	})
}

// walkFirefox walks in a Firefox that is on a display, or headless.
func walkFirefox(t *testing.T, fox *firefox.Firefox, display string, walks map[string]func(*visit)) {
	video := encodeVP8(t)
	for name, walk := range walks {
		t.Run(name, func(t *testing.T) {
			ctx := testkit.Context(t, 2*time.Minute)
			page, err := fox.Open(ctx, "about:blank")
			testkit.Must(t, err)
			v := &visit{T: t, ctx: ctx, site: newSite(t, video), fox: page, display: display}
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
	v.scaled(width, height, 1)
}

// scaled gives the page a size, on a screen with so many pixels for one of the page.
func (v *visit) scaled(width, height int64, scale float64) {
	v.Helper()
	if v.fox == nil {
		v.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale)))
		return
	}
	testkit.Must(v, v.fox.Resize(v.ctx, browser.Size{Width: width, Height: height}, scale))
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

// hold presses the key of a letter, and letGo releases it.
func (v *visit) hold(letter rune) {
	v.Helper()
	if v.fox == nil {
		command(v, input.DispatchKeyEvent, *kb.Encode(letter)[0])
		return
	}
	testkit.Must(v, v.fox.Hold(v.ctx, string(letter)))
}

func (v *visit) letGo(letter rune) {
	v.Helper()
	if v.fox == nil {
		events := kb.Encode(letter)
		command(v, input.DispatchKeyEvent, *events[len(events)-1])
		return
	}
	testkit.Must(v, v.fox.LetGo(v.ctx, string(letter)))
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

// notchAt turns a wheel by a notch towards the person, where Firefox has a window.
func (v *visit) notchAt(x, y float64) {
	v.Helper()
	at := evaluate[browser.Point](v, `({ X: mozInnerScreenX, Y: mozInnerScreenY })`)
	cmd := exec.CommandContext(v.ctx, "xdotool", "mousemove", fmt.Sprintf("%.0f", at.X+x), fmt.Sprintf("%.0f", at.Y+y), "click", "5")
	cmd.Env = append(os.Environ(), "DISPLAY="+v.display)
	if out, err := cmd.CombinedOutput(); err != nil {
		v.Fatalf("turn the wheel: %v: %s", err, out)
	}
}

func (v *visit) wheelAt(x, y float64, down int) {
	v.Helper()
	if v.fox == nil {
		command(v, cdp.Command[wheel, cdp.Empty]{Method: input.CommandDispatchMouseEvent}, wheel{Type: "mouseWheel", X: x, Y: y, DeltaY: float64(down)})
		return
	}
	testkit.Must(v, v.fox.Wheel(v.ctx, browser.Point{X: x, Y: y}, 0, down))
}
