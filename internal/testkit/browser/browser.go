// Package browser drives a headless Chromium for end-to-end tests and benches.
//
//	b, err := browser.Launch(ctx)
//	defer b.Close()
//	page, err := b.Open(ctx, "http://127.0.0.1:7700/play/viewer")
//	err = page.Click(ctx, "#play")
//	err = page.Until(ctx, "nearcast.state === 'streaming'")
//
// One Browser is one Chromium with a profile of its own in a temporary folder;
// each page is a tab. Every call ends with its context. Chromium must be
// installed: /usr/bin/chromium, or what $CHROMIUM names.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"encoding/json"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// ErrNotInstalled says that there is no Chromium on this machine.
var ErrNotInstalled = errors.New("no Chromium: install Debian's package chromium, or name one in $CHROMIUM")

// Browser is one running Chromium.
type Browser struct {
	ctx    context.Context
	cancel []context.CancelFunc
	pid    int
	dir    string
	close  sync.Once
}

// Size is a page's viewport in CSS pixels.
type Size struct{ Width, Height int64 }

// Start starts Chromium for a test, which is skipped where there is none. Extra
// flags are as Launch takes them.
func Start(t testing.TB, flags ...string) *Browser {
	t.Helper()
	b, err := Launch(context.Background(), flags...)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Without are the features that tests switch off: Chromium's address bar has pages of its own,
// which nobody sees and which compute all the time, 15 to 25 % of a processor.
const Without = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup"

// Launch starts Chromium. Extra flags are "name" or "name=value".
func Launch(ctx context.Context, flags ...string) (*Browser, error) {
	return LaunchIn(ctx, "", flags...)
}

// LaunchIn starts Chromium in the network namespace that a file keeps, where it
// reaches what that namespace reaches; it is driven by pipes from anywhere. An
// empty name is the caller's own namespace.
func LaunchIn(ctx context.Context, namespace string, flags ...string) (*Browser, error) {
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, ErrNotInstalled
	}
	dir, err := os.MkdirTemp("", "nearcast-chromium-")
	if err != nil {
		return nil, fmt.Errorf("make browser profile: %w", err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(dir),
		chromedp.Env("TMPDIR=" + dir), // its sockets go with the profile
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Headless,
		chromedp.NoSandbox, // tests run as root in containers and VMs of their own
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-features", Without),
	}
	for _, f := range flags {
		name, value, has := strings.Cut(f, "=")
		if has {
			options = append(options, chromedp.Flag(name, value))
		} else {
			options = append(options, chromedp.Flag(name, true))
		}
	}
	if namespace != "" {
		enter, err := exec.LookPath("nsenter")
		if err != nil {
			return nil, fmt.Errorf("enter %s: install Debian's package util-linux: %w", namespace, err)
		}
		options = append(options, chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.Args = append([]string{enter, "--net=" + namespace, "--", path}, cmd.Args[1:]...)
			cmd.Path = enter
		}))
	}
	b := &Browser{dir: dir}
	alloc, cancelAlloc := chromedp.NewExecAllocator(ctx, options...)
	tab, cancelTab := chromedp.NewContext(alloc)
	b.ctx, b.cancel = tab, []context.CancelFunc{cancelTab, cancelAlloc}
	if err := chromedp.Do(tab); err != nil {
		b.Close()
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	b.pid = chromedp.FromContext(tab).Browser.Process().Pid
	return b, nil
}

// PID is the browser process; its children are the renderers.
func (b *Browser) PID() int { return b.pid }

// Close ends Chromium and removes its profile.
func (b *Browser) Close() {
	b.close.Do(func() {
		for _, cancel := range b.cancel {
			cancel()
		}
		_ = os.RemoveAll(b.dir) // a last write of a dying process may race with it; the folder is in TMPDIR
	})
}

// Driven is a page that a test drives, of this package or of package firefox.
type Driven interface {
	Eval(ctx context.Context, expression string, out any) error
	Until(ctx context.Context, condition string) error
	Click(ctx context.Context, selector string) error
}

// Page is one tab.
type Page struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	log    []string
}

// Open opens url in a new tab and waits for its load event.
func (b *Browser) Open(ctx context.Context, url string, size ...Size) (*Page, error) {
	return b.OpenAfter(ctx, "", url, size...)
}

// OpenAfter is Open with a script that runs before those of each page in the tab.
func (b *Browser) OpenAfter(ctx context.Context, script, url string, size ...Size) (*Page, error) {
	p := &Page{}
	p.ctx, p.cancel = chromedp.NewContext(b.ctx, chromedp.WithListener(p.listen))
	// The tab lives as long as the context of its first action, which must
	// therefore not be the caller's.
	if err := chromedp.Do(p.ctx); err != nil {
		p.cancel()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	if script != "" {
		if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
			p.Close()
			return nil, fmt.Errorf("give a tab its script: %w", err)
		}
	}
	var steps []step
	if len(size) == 1 {
		steps = append(steps, chromedp.EmulateViewport(size[0].Width, size[0].Height))
	}
	steps = append(steps, chromedp.Navigate(url))
	if err := p.do(ctx, steps...); err != nil {
		p.Close()
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	return p, nil
}

// listen keeps what the page's console and its uncaught exceptions said. It
// runs on the goroutine that reads the tab's messages, and so only takes notes.
func (p *Page) listen(event any) {
	line := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		parts := []string{string(e.Type)}
		for _, arg := range e.Args {
			text := string(arg.Value)
			if text == "" {
				text = arg.Description // an object, a function, an error
			}
			parts = append(parts, text)
		}
		line = strings.Join(parts, " ")
	case *runtime.EventExceptionThrown:
		line = (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error()
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, line)
}

// Console is what the page logged so far.
func (p *Page) Console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}

type step = chromedp.Action[chromedp.Void]

// do carries steps out in the tab, until ctx ends.
func (p *Page) do(ctx context.Context, steps ...step) error {
	_, err := run(ctx, p, chromedp.Steps(steps...))
	return err
}

// run carries an action out in the tab, until ctx ends. chromedp finds the tab
// in its context's values, so the caller's deadline is grafted onto it.
func run[T any](ctx context.Context, p *Page, action chromedp.Action[T]) (T, error) {
	tab, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	value, err := chromedp.Run(tab, action)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return value, err
}

// call sends a command to the tab, until ctx ends.
func call[P, R any](ctx context.Context, p *Page, command cdp.Command[P, R], params P) error {
	tab, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	_, err := chromedp.Call(tab, command, params)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// Eval evaluates a JavaScript expression as Deep does, awaits it if it is a promise, and
// decodes its value into out (nil drops it).
func (p *Page) Eval(ctx context.Context, expression string, out any) error {
	options := func(params *runtime.EvaluateParams) {
		yes := true
		params.AwaitPromise, params.UserGesture = &yes, &yes
	}
	// As text, so that undefined and null need no special case.
	text, err := run(ctx, p, chromedp.Evaluate[string](
		"(async () => JSON.stringify(await "+Deep(expression)+") ?? 'null')()", options))
	if err != nil {
		return fmt.Errorf("evaluate %.80q: %w", expression, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return fmt.Errorf("decode the value of %.80q: %w", expression, err)
	}
	return nil
}

// Until waits until a JavaScript expression is true.
func (p *Page) Until(ctx context.Context, condition string) error {
	const every = 50 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var ok bool
		err := p.Eval(ctx, "!!("+condition+")", &ok)
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s never became true: %w (last error %v; console %q; the page shows %s)",
				condition, context.Cause(ctx), err, p.Console(), p.shows())
		case <-tick.C:
		}
	}
}

// shows is what a person would read on the page now, and what the player says of itself.
func (p *Page) shows() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var text string
	if err := p.Eval(ctx, `JSON.stringify([document.body.innerText.slice(0, 600), window.nearcast ?? null])`, &text); err != nil {
		return "nothing: " + err.Error()
	}
	return text
}

// Reload loads the page again.
func (p *Page) Reload(ctx context.Context) error {
	if err := p.do(ctx, chromedp.Reload()); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	return nil
}

// Resize gives the page another size, as a person who drags their window's corner does.
func (p *Page) Resize(ctx context.Context, size Size) error {
	if err := p.do(ctx, chromedp.EmulateViewport(size.Width, size.Height)); err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	return nil
}

// Screenshot is the viewport as PNG.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) {
	png, err := run(ctx, p, chromedp.CaptureScreenshot())
	if err != nil {
		return nil, fmt.Errorf("take screenshot: %w", err)
	}
	return png, nil
}

// Close closes the tab without a goodbye, as a person closing it would.
func (p *Page) Close() {
	_ = chromedp.Cancel(p.ctx) // a tab that is already gone is closed
	p.cancel()
}
