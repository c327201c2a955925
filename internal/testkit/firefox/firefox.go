// Package firefox drives a headless Firefox for tests, by WebDriver BiDi: what
// chromedp does for Chromium (package browser) does not exist for Firefox.
//
//	f := firefox.Start(t) // skips the test where there is none
//	page, err := f.Open(ctx, "http://127.0.0.1:7700/play/viewer")
//	err = page.Click(ctx, ".play-button")
//	err = page.Until(ctx, "nearcast.state === 'streaming'")
//
// StartOn is for what a headless one lacks. One Firefox has a profile of its own in a temporary folder. It takes candidates of
// the loopback, and pages may play sound without a click. Firefox must be installed:
// firefox-esr or firefox in PATH, or what $FIREFOX names.
package firefox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// Firefox is one running Firefox.
type Firefox struct{ conn *conn }

// prefs are what a profile sets, beside what keeps Firefox from asking servers of its own.
var prefs = map[string]any{
	"media.peerconnection.ice.loopback":                 true,
	"media.peerconnection.ice.obfuscate_host_addresses": false,
	"media.autoplay.default":                            0,
	"remote.active-protocols":                           1,
	// Pages of tests come from http://127.0.0.1, and ask for the clipboard without a person.
	"dom.events.testing.asyncClipboard": true,
	"app.normandy.enabled":              false, "app.update.auto": false, "browser.aboutwelcome.enabled": false,
	"browser.safebrowsing.malware.enabled": false, "browser.safebrowsing.phishing.enabled": false,
	"browser.shell.checkDefaultBrowser": false, "browser.startup.page": 0, "datareporting.policy.dataSubmissionEnabled": false,
	"extensions.update.enabled": false, "media.gmp-manager.updateEnabled": false, "network.captive-portal-service.enabled": false,
	"network.connectivity-service.enabled": false, "services.settings.server": "data:,", "toolkit.telemetry.enabled": false,
}

// startTime is how long Firefox may take to listen.
const startTime = 2 * time.Minute

var listening = regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)

// Start starts Firefox for a test, which is skipped where there is none.
func Start(t testing.TB) *Firefox {
	t.Helper()
	return start(t, "", "", nil)
}

// StartIn starts Firefox in the network namespace that a file keeps, where it reaches what
// that namespace reaches, with more prefs.
func StartIn(t testing.TB, namespace string, more map[string]any) *Firefox {
	t.Helper()
	return start(t, namespace, "", more)
}

// StartOn starts Firefox with a window on an X display. There it has what it lacks when it is headless: pictures
// in its clipboard, and a wheel with notches.
func StartOn(t testing.TB, display string) *Firefox {
	t.Helper()
	return start(t, "", display, nil)
}

// start starts Firefox in a namespace, if there is one, and on a display, else headless.
func start(t testing.TB, namespace, display string, more map[string]any) *Firefox {
	t.Helper()
	path := os.Getenv("FIREFOX")
	for _, name := range []string{"firefox-esr", "firefox"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		t.Skip("no Firefox: install Debian's package firefox-esr, or name one in $FIREFOX")
	}
	dir := testkit.ShortDir(t)
	var lines strings.Builder
	all := maps.Clone(prefs)
	maps.Copy(all, more)
	for name, value := range all {
		raw, err := json.Marshal(value)
		testkit.Must(t, err)
		fmt.Fprintf(&lines, "user_pref(%q, %s);\n", name, raw)
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "user.js"), []byte(lines.String()), 0o600))
	command := []string{path, "--no-remote", "--profile", dir, "--remote-debugging-port", "0"}
	if display == "" {
		command = append(command, "--headless")
	}
	if namespace != "" {
		command = append([]string{"nsenter", "--net=" + namespace}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "MOZ_CRASHREPORTER_DISABLE=1", "MOZ_DISABLE_CONTENT_SANDBOX=1", "GDK_BACKEND=x11", "DISPLAY="+display)
	out, in, err := os.Pipe()
	testkit.Must(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	process := testkit.Start(t, cmd)
	in.Close()
	found := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			if m := listening.FindStringSubmatch(s.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		process.Stop()
		out.Close()
		<-read
	})
	var url string
	select {
	case url = <-found:
	case <-process.Done():
		t.Fatal("Firefox ended before it listened")
	case <-time.After(startTime):
		t.Fatal("Firefox does not listen")
	}
	ctx := testkit.Context(t, startTime)
	socket, _, err := websocket.Dial(ctx, url+"/session", &websocket.DialOptions{HTTPClient: clientIn(namespace)})
	testkit.Must(t, err)
	f := &Firefox{conn: newConn(socket)}
	t.Cleanup(f.conn.close)
	// Its question before a page is left waits for an answer.
	capabilities := object{"alwaysMatch": object{"unhandledPromptBehavior": object{"beforeUnload": "ignore"}}}
	testkit.Must(t, f.conn.call(ctx, "session.new", object{"capabilities": capabilities}, nil))
	testkit.Must(t, f.conn.call(ctx, "session.subscribe", object{"events": []string{"log.entryAdded", "browsingContext.userPromptOpened"}}, nil))
	return f
}

// Page is one tab.
type Page struct {
	conn *conn
	id   string
}

// Open opens url in a new tab of 1280x800 CSS pixels, and waits for its load event.
func (f *Firefox) Open(ctx context.Context, url string) (*Page, error) {
	var made struct {
		Context string `json:"context"`
	}
	if err := f.conn.call(ctx, "browsingContext.create", object{"type": "tab"}, &made); err != nil {
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	p := &Page{f.conn, made.Context}
	err := p.Resize(ctx, browser.Size{Width: 1280, Height: 800}, 1)
	if err == nil {
		err = p.Go(ctx, url)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	return p, nil
}

// Before has a script run before those of each page in the tab.
func (p *Page) Before(ctx context.Context, script string) error {
	return p.conn.call(ctx, "script.addPreloadScript", object{"functionDeclaration": "() => {" + script + "}", "contexts": []string{p.id}}, nil)
}

// Go has the tab show another page, and waits for its load event.
func (p *Page) Go(ctx context.Context, url string) error {
	return p.conn.call(ctx, "browsingContext.navigate", object{"context": p.id, "url": url, "wait": "complete"}, nil)
}

// Resize gives the page another size, and so many pixels of the device for one of the page.
func (p *Page) Resize(ctx context.Context, size browser.Size, ratio float64) error {
	return p.conn.call(ctx, "browsingContext.setViewport", object{
		"context": p.id, "viewport": object{"width": size.Width, "height": size.Height}, "devicePixelRatio": ratio,
	}, nil)
}

// Reload loads the page again.
func (p *Page) Reload(ctx context.Context) error {
	return p.conn.call(ctx, "browsingContext.reload", object{"context": p.id, "wait": "complete"}, nil)
}

// Close closes the tab, as a person closing it would.
func (p *Page) Close(ctx context.Context) error {
	return p.conn.call(ctx, "browsingContext.close", object{"context": p.id}, nil)
}

// Questions are what Firefox asks before it leaves the page: Answer answers.
func (p *Page) Questions() <-chan struct{} { return p.conn.questions(p.id) }

// Answer has Firefox leave the page, or stay.
func (p *Page) Answer(ctx context.Context, leave bool) error {
	return p.conn.call(ctx, "browsingContext.handleUserPrompt", object{"context": p.id, "accept": leave}, nil)
}

// Problems are the errors of the tab so far, as its console has them.
func (p *Page) Problems() []string { return p.conn.problems(p.id) }

// ErrThrown is wrapped where an expression throws.
var ErrThrown = errors.New("the page threw")

// evaluate gives the text that an expression is, or what its promise becomes.
func (p *Page) evaluate(ctx context.Context, expression string) (string, error) {
	var out struct {
		Type   string `json:"type"`
		Result struct {
			Value string `json:"value"`
		} `json:"result"`
		Thrown struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	err := p.conn.call(ctx, "script.evaluate", object{
		"expression": expression, "target": object{"context": p.id}, "awaitPromise": true, "userActivation": true,
	}, &out)
	if err == nil && out.Type != "success" {
		err = fmt.Errorf("%w: %s", ErrThrown, out.Thrown.Text)
	}
	return out.Result.Value, err
}
