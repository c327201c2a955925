package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// sampleText finds the samples of docs/API.md: a comment with a name, and a fence.
var sampleText = regexp.MustCompile("(?s)<!-- sample: (\\w+) -->\n```\\w+\n(.*?)```")

// What the samples name, and the test has another of.
const (
	docKey    = "3f1c9a7d20b4e865"
	docRouter = "https://play.example"
)

// guide runs the samples of docs/API.md in a folder.
type guide struct {
	t       *testing.T
	dir     string
	samples map[string]string
	replace *strings.Replacer
	env     []string
}

// run gives what a command prints; it fails the test if the command fails.
func (g *guide) run(env []string, name string, args ...string) string {
	g.t.Helper()
	out, err := g.try(env, name, args...)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

func (g *guide) try(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = g.dir
	cmd.Env = append(append(testkit.Environ(), g.env...), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// shell runs a sample as sh does.
func (g *guide) shell(sample string, env ...string) string {
	g.t.Helper()
	return g.run(env, "sh", "-ec", g.replace.Replace(g.samples[sample]))
}

// file writes a sample to a file of the folder.
func (g *guide) file(name, text string) string {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	testkit.Must(g.t, os.WriteFile(path, []byte(g.replace.Replace(text)), 0o600))
	return path
}

// TestAPIGuide does what docs/API.md says, against a real router and Consul.
func TestAPIGuide(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed: THE SAMPLES OF docs/API.md DID NOT RUN")
	}
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	t.Run("run", walkGuide) // so that all has ended when leaks are looked for
}

func walkGuide(t *testing.T) {
	consul := testkit.StartConsul(t)
	router := guideRouter(t, consul)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "nearcast"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nearcast: %v\n%s", err, out)
	}
	g := &guide{t: t, dir: t.TempDir(), samples: map[string]string{}, replace: strings.NewReplacer(docRouter, router),
		env: []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "NEARCAST_CONSUL=" + consul.Address, "HOME=" + os.Getenv("HOME")}}
	text, err := os.ReadFile("../../docs/API.md")
	testkit.Must(t, err)
	for _, m := range sampleText.FindAllStringSubmatch(string(text), -1) {
		g.samples[m[1]] = m[2]
	}
	for _, name := range []string{"create", "python", "javascript", "go", "shell", "curl", "revoke"} {
		if g.samples[name] == "" {
			t.Fatalf("docs/API.md has no sample %q", name)
		}
	}

	made := g.shell("create")
	id := regexp.MustCompile(`[0-9a-f]{16}`).FindString(made)
	if id == "" {
		t.Fatalf("no id in:\n%s", made)
	}
	g.replace = strings.NewReplacer(docRouter, router, docKey, id)

	// launch is the sample for curl with a token.
	launch := func(token string) (string, error) {
		out, err := g.try([]string{"TOKEN=" + strings.TrimSpace(token)}, "sh", "-ec", strings.TrimSpace(g.replace.Replace(g.samples["curl"]))+" --silent --show-error")
		return out, err
	}
	// The router learns of the key by a blocking query.
	token := g.shell("shell")
	testkit.UntilSeen(t, "the router knows the key", func() (any, bool) { out, err := launch(token); return out, err == nil })

	try := func(language string, token func(t *testing.T, g *guide) string) {
		t.Run(language, func(t *testing.T) {
			own := *g
			own.t = t
			lines := 0
			for line := range strings.Lines(g.samples[language]) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "import") {
					lines++
				}
			}
			if lines > 15 { // with what Go needs around its ten
				t.Errorf("the sample has %d lines", lines)
			}
			out, err := launch(token(t, &own))
			start := strings.Index(out, "{")
			var got wire.LaunchResponse
			if err != nil || start < 0 || json.Unmarshal([]byte(out[start:]), &got) != nil || got.Ticket == "" || got.App != "cad-viewer" {
				t.Errorf("launch: %v\n%s", err, out)
			}
		})
	}
	try("shell", func(_ *testing.T, g *guide) string { return g.shell("shell") })
	try("python", func(t *testing.T, g *guide) string {
		python, err := exec.LookPath("python3")
		if err != nil {
			t.Skip("python3 is not installed: THE SAMPLE OF docs/API.md DID NOT RUN")
		}
		if out, err := g.try(nil, python, "-c", "import cryptography"); err != nil {
			t.Skipf("python3 has no cryptography: THE SAMPLE OF docs/API.md DID NOT RUN: %s", out)
		}
		return g.run(nil, python, g.file("sign.py", g.samples["python"]))
	})
	try("javascript", func(t *testing.T, g *guide) string {
		node, err := exec.LookPath("node")
		if err != nil {
			t.Skip("node is not installed: THE SAMPLE OF docs/API.md DID NOT RUN")
		}
		return g.run(nil, node, g.file("sign.mjs", g.samples["javascript"]))
	})
	try("go", func(t *testing.T, g *guide) string {
		sample := g.file("sign.go", g.samples["go"])
		caller := g.file("main.go", `package main
import ("fmt"; "os")
func main() {
	file, err := os.ReadFile(os.Args[1])
	if err != nil { panic(err) }
	token, err := launchToken(file, "cad-viewer", "ada")
	if err != nil { panic(err) }
	fmt.Println(token)
}
`)
		cmd := exec.CommandContext(t.Context(), "go", "run", sample, caller, filepath.Join(g.dir, "shop.launch-key.pem"))
		out, err := cmd.Output() // in this module, whose dependency the sample needs
		testkit.Must(t, err)
		return string(out)
	})

	link := g.run(nil, filepath.Join(bin, "nearcast"), "token", "create", "--key", "shop.launch-key.pem", "--app", "cad-viewer", "--url", router)
	if !strings.HasPrefix(link, router+"/play/cad-viewer#token=") {
		t.Errorf("link %q", link)
	}
	if out, err := launch(""); err == nil || !strings.Contains(out, wire.ProblemLaunchToken) {
		t.Errorf("without a token: %v\n%s", err, out)
	}
	if out := g.shell("revoke"); !strings.Contains(out, "revoked at dc1") {
		t.Errorf("revoke:\n%s", out)
	}
	testkit.UntilSeen(t, "the key is refused", func() (any, bool) {
		out, err := launch(token)
		return out, err != nil && strings.Contains(out, "revoked")
	})
}

// guideRouter runs a router, with a brain in Consul and a signed app.
func guideRouter(t *testing.T, consul *testkit.Consul) (url string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	log := testkit.Logger(t)
	f, err := fleet.Open(fleet.Config{Address: consul.Address, Log: log})
	testkit.Must(t, err)
	brain, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "b1", Site: "dc1", URL: "ws://127.0.0.1:9", Address: "127.0.0.1:9"})
	testkit.Must(t, err)
	testkit.UntilSeen(t, "a signed app is published", func() (any, bool) {
		err := f.PublishApp(ctx, wire.App{ID: "cad-viewer", Version: 1, Title: "CAD viewer", Access: wire.AccessSigned, Capacity: wire.Capacity{Idle: 1, Max: 4}})
		return err, err == nil
	})
	key, public := testkit.TicketKeys(t, t.TempDir())
	address := fmt.Sprintf("127.0.0.1:%d", testkit.Ports(t, 1)[0])
	done := make(chan error, 1)
	go func() {
		done <- runRouter(ctx, routerFlags{listen: address, consul: consul.Address, ticketKey: key, ticketKeys: public, site: "dc1"}, log)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		brain.Close()
		f.Close()
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	testkit.UntilSeen(t, "the router asks for a token", func() (any, bool) {
		res, err := client.Post("http://"+address+"/v1/sessions", "application/json", strings.NewReader(`{"app":"cad-viewer"}`))
		if err != nil {
			return err, false
		}
		defer res.Body.Close()
		return res.Status, res.StatusCode == http.StatusUnauthorized
	})
	return "http://" + address
}
