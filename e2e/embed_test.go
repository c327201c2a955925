package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/client"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A page of another origin has a player in about ten lines. The page's server signs launch
// tokens, in each language of web/examples; the page speaks with the app.
func TestExamples(t *testing.T) {
	examples := filepath.Join("..", "web", "examples")
	goServer := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", goServer, "../web/examples/go").CombinedOutput(); err != nil {
		t.Fatalf("build the server in Go: %v\n%s", err, out)
	}
	ctx := testkit.Context(t, 2*time.Minute)
	app := "t-examples"
	_, err := site.RunJob(ctx, filepath.Join("jobs", "testapp.nomad.hcl"), map[string]string{"name": app, "testapp": filepath.Join(binDir, "testapp"),
		"args": "-fps 30 -echo-messages", "access": "signed", "warm": "0", "max": "1"})
	testkit.Must(t, err)
	t.Cleanup(func() { stopApp(t, app) })
	file := filepath.Join(t.TempDir(), "shop.pem")
	out, err := exec.Command(filepath.Join(binDir, "nearcast"), "key", "create", "shop", "--app", app, "--consul", site.ConsulAddress, "--out", file).CombinedOutput()
	if err != nil {
		t.Fatalf("create a key: %v\n%s", err, out)
	}
	id := regexp.MustCompile(`\b[0-9a-f]{16}\b`).FindString(string(out))

	for _, one := range []struct {
		language string
		command  []string
		needs    []string // a command that fails where the machine has not what the server needs
	}{
		{"go", []string{goServer}, nil},
		{"javascript", []string{"node", filepath.Join(examples, "javascript", "server.mjs")}, []string{"node", "--version"}},
		{"python", []string{"/usr/bin/python3", filepath.Join(examples, "python", "server.py")}, []string{"/usr/bin/python3", "-c", "import cryptography"}},
	} {
		t.Run(one.language, func(t *testing.T) {
			if len(one.needs) > 0 {
				if out, err := exec.Command(one.needs[0], one.needs[1:]...).CombinedOutput(); err != nil {
					t.Skipf("THE EXAMPLE DID NOT RUN: %v: %v: %s", one.needs, err, out)
				}
			}
			port := testkit.Ports(t, 1)[0]
			url := fmt.Sprint("http://127.0.0.1:", port)
			webhook := registerWebhook(t, url+"/hooks")
			server := exec.Command(one.command[0], append(one.command[1:], filepath.Join(examples, "page.html"))...)
			server.Env = append(os.Environ(), "NEARCAST_URL="+site.URL, "NEARCAST_APP="+app, "NEARCAST_KEY="+file, "NEARCAST_KEY_ID="+id, "NEARCAST_WEBHOOK_SECRET="+webhook, fmt.Sprint("PORT=", port))
			testkit.Start(t, server)
			var token string
			testkit.Retry(ctx, t, "the router takes the server's token", func() (err error) {
				if token, err = launchToken(ctx, url); err != nil {
					return err
				}
				return takes(ctx, app, token, url)
			})
			if err := takes(ctx, app, token, "http://elsewhere.example"); err == nil {
				t.Error("the token is good for pages of another origin")
			}
			if got, err := launchToken(ctx, url, "http://elsewhere.example"); err == nil {
				t.Errorf("a page of another origin got a token: %s", got)
			}

			page, err := chrome.Open(ctx, url)
			testkit.Must(t, err)
			defer page.Close()
			testkit.Must(t, page.Until(ctx, "document.querySelector('nearcast-player')?.token && document.querySelector('nearcast-player').state === 'ready' && document.querySelector('.play-button')"))
			testkit.Must(t, page.Click(ctx, ".play-button"))
			testkit.Must(t, page.Until(ctx, `document.querySelector('#said').textContent === '{"hello":"app"}'`))
			endsByAPIKey(ctx, t, app, one.language == "go")
			testkit.Must(t, page.Until(ctx, "document.querySelector('nearcast-player').state === 'ended'"))
			learnsInOrder(ctx, t, url, app, ticket.HashSubject(id, "ada"))
		})
	}
}

// registerWebhook has the site tell a customer's server what happens, until the test ends. It
// returns the secret.
func registerWebhook(t *testing.T, url string) (secret string) {
	t.Helper()
	nearcast := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(filepath.Join(binDir, "nearcast"), append([]string{"webhook", "--consul", site.ConsulAddress}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	made := nearcast("add", url, "--customer", "shop", "--private")
	t.Cleanup(func() { nearcast("revoke", regexp.MustCompile(`\b[0-9a-f]{16}\b`).FindString(made)) })
	return regexp.MustCompile(`whsec_\S+`).FindString(made)
}

// learnsInOrder waits until a customer's server has the events of its one session, each once and in
// order, and sees that it takes none from others.
func learnsInOrder(ctx context.Context, t *testing.T, url, app, subject string) {
	t.Helper()
	var events []wire.Event
	testkit.Retry(ctx, t, "the server learns that the session has ended", func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
		testkit.Must(t, err)
		text, err := answered(req)
		if err == nil {
			err = json.Unmarshal([]byte(text), &events)
		}
		if err == nil && (len(events) == 0 || events[len(events)-1].Type != wire.EventEnded) {
			err = fmt.Errorf("it has learnt %s", text)
		}
		return err
	})
	var types []string
	for i, e := range events {
		d := e.Data
		if e.SpecVersion != "1.0" || e.Source != "/sites/"+site.Site || e.Subject != d.Session || d.Session != events[0].Data.Session || d.Number != i+1 || d.App != app || d.Customer != "shop" || d.Subject != subject || d.Meta["order"] != "4711" {
			t.Errorf("event %d: %+v", i+1, e)
		}
		types = append(types, strings.TrimPrefix(e.Type, wire.EventPrefix+"session."))
	}
	types = slices.DeleteFunc(types, func(t string) bool { return t == "queued" }) // by how long the seat took to start
	last := events[len(events)-1].Data
	if !slices.Equal(types, []string{"requested", "started", "ended"}) || last.End == nil || last.End.Reason != wire.ReasonLeft || last.DurationS <= 0 {
		t.Errorf("the server has learnt %q, and at last %+v", types, last)
	}
	forged, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/hooks", strings.NewReader("{}"))
	testkit.Must(t, err)
	for name, value := range map[string]string{"webhook-id": "x", "webhook-timestamp": fmt.Sprint(time.Now().Unix()), "webhook-signature": "v1,AAAA"} {
		forged.Header.Set(name, value)
	}
	if _, err := answered(forged); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a forged event: %v", err)
	}
}

// endsByAPIKey has the customer's server find the session of an app, and end it. measured has it wait
// until seat and page have told what the session is like.
func endsByAPIKey(ctx context.Context, t *testing.T, app string, measured bool) {
	t.Helper()
	nearcast := func(key string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(binDir, "nearcast"), args...)
		cmd.Env = append(os.Environ(), "NEARCAST_CONSUL="+site.ConsulAddress, "NEARCAST_ROUTER="+site.URL, "NEARCAST_API_KEY="+key)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	key := func(customer string) string {
		made := nearcast("", "apikey", "create", customer, "--scope", "sessions:read", "--scope", "sessions:end")
		return regexp.MustCompile(`nck_\S+`).FindString(made)
	}
	mine, theirs := key("shop"), key("bank")
	var list []wire.SessionView
	testkit.Retry(ctx, t, "the customer's server sees the session", func() error {
		err := json.Unmarshal([]byte(nearcast(mine, "session", "list", "--app", app, "--state", "streaming", "--json")), &list)
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("it sees %+v", list)
		}
		return err
	})
	if v := list[0]; v.Customer != "shop" || v.Site != site.Site || v.Seat == "" || v.Node != "" {
		t.Errorf("the session: %+v", v)
	}
	if measured {
		var v wire.SessionView
		testkit.Retry(ctx, t, "the session's figures are there", func() error {
			err := json.Unmarshal([]byte(nearcast(mine, "session", "show", list[0].Session, "--json")), &v)
			if err == nil && (v.Measured == nil || v.Measured.Page == nil || v.Quality == nil) {
				err = fmt.Errorf("measured %+v, quality %+v", v.Measured, v.Quality)
			}
			return err
		})
		m, q := v.Measured, v.Quality
		if m.FPS < 5 || m.Paints < 5 || m.RTTMS <= 0 || m.BitrateKbps <= 0 || m.EncodeMS <= 0 || m.CaptureMS <= 0 || m.Width < 100 || m.Page.FPS < 5 || q.DurationS < 2 || q.FPS < 5 {
			t.Errorf("measured %+v, page %+v, quality %+v", m, m.Page, q)
		}
		if m.Encoder != "" || m.Preset != "" {
			t.Errorf("a customer learns of the encoder: %s %s", m.Encoder, m.Preset)
		}
	}
	if out := nearcast(theirs, "session", "list", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("another customer sees %s", out)
	}
	nearcast(mine, "session", "end", list[0].Session)
}

// launchToken asks a customer's server for a launch token, as a page of an origin does: by
// default its own.
func launchToken(ctx context.Context, url string, origin ...string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/launch-token", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Origin", append(origin, url)[0])
	return answered(req)
}

// takes asks the router to launch an app with a token, for a page of an origin.
func takes(ctx context.Context, app, token, origin string) error {
	_, err := launchWith(ctx, app, token, client.WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		req.Header.Set("Origin", origin)
		return nil
	}))
	return err
}

func answered(req *http.Request) (string, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if res.StatusCode >= 300 {
		return "", fmt.Errorf("%s: %s", res.Status, text)
	}
	return string(text), nil
}
