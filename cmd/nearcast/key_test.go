package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// command runs a command as main does, and gives what it prints.
func command(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// TestKey registers, lists and revokes keys at two sites with real Consuls, one of
// which does not answer for a while.
func TestKey(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	consuls := testkit.FederateConsul(t, "far", "near")
	far, near := consuls[0], consuls[1]
	t.Setenv("NEARCAST_CONSUL", near.Address)
	dir := t.TempDir()
	t.Chdir(dir) // where a key goes that should not have been made
	key := func(args ...string) (string, error) { t.Helper(); return command(t, keyCommand(), args...) }
	keysAt := func(site string) map[string]wire.LaunchKey {
		t.Helper()
		f, err := fleet.Open(fleet.Config{Address: near.Address})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		keys, err := f.At(site).LaunchKeys().All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}

	if out, err := key("list"); err != nil || !strings.Contains(out, "nearcast key create") {
		t.Errorf("no keys: %v, %s", err, out)
	}
	path := filepath.Join(dir, "shop.pem")
	out, err := key("create", "shop", "--app", "chess", "--app", "golf", "--out", path)
	if err != nil || !strings.Contains(out, path) || !strings.Contains(out, "at far, near") {
		t.Fatalf("create: %v\n%s", err, out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v, %v", info, err)
	}
	private, err := ticket.LoadLaunchKey(path)
	if err != nil {
		t.Fatal(err)
	}
	var id string
	for _, site := range []string{"far", "near"} {
		keys := keysAt(site)
		for id = range keys {
		}
		k := keys[id]
		parsed, err := ticket.ParseLaunchKey(k.ID, k.Name, k.PublicKey, k.Apps)
		if err != nil || len(keys) != 1 || !parsed.Public.Equal(private.Public()) || !slices.Equal(k.Apps, []string{"chess", "golf"}) || k.Name != "shop" {
			t.Errorf("%s has %+v, %v", site, keys, err)
		}
		if text, _ := json.Marshal(k); strings.Contains(string(text), "PRIVATE") {
			t.Error("the private key is in Consul")
		}
	}
	if !strings.Contains(out, id) {
		t.Errorf("create does not print the id:\n%s", out)
	}
	before, _ := os.ReadFile(path)
	if out, err := key("create", "again", "--out", path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a key over another: %v\n%s", err, out)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) || len(keysAt("near")) != 1 {
		t.Error("the key was replaced, or another one registered")
	}

	// A site does not answer: the command says which, and how to go on.
	far.Kill()
	otherPath := filepath.Join(dir, "other.pem")
	out, err = key("create", "other", "--out", otherPath)
	far.Restart(false)
	if err == nil || !strings.Contains(err.Error(), "far: ") || !strings.Contains(err.Error(), "--key "+otherPath) || !strings.Contains(out, "at near\n") {
		t.Fatalf("create without a site: %v\n%s", err, out)
	}
	testkit.UntilSeen(t, "the site that was away lacks the key", func() (any, bool) {
		var listed []listedKey
		out, err := key("list", "--json")
		if err != nil || json.Unmarshal([]byte(out), &listed) != nil || len(listed) != 2 {
			return out, false
		}
		k := listed[1]
		return listed, listed[0].ID == id && len(listed[0].Missing) == 0 && k.Name == "other" &&
			slices.Equal(k.Sites, []string{"near"}) && slices.Equal(k.Missing, []string{"far"})
	})
	if out, err := key("list"); err != nil || !strings.Contains(out, "not at far") || !strings.Contains(out, "every app") {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := key("create", "other", "--key", otherPath); err != nil || !strings.Contains(out, "at far, near") {
		t.Fatalf("again with the key: %v\n%s", err, out)
	}
	for k, v := range keysAt("far") {
		if !v.Created.Equal(keysAt("near")[k].Created) {
			t.Errorf("%s was created at two times", k)
		}
	}

	if out, err := key("revoke", id); err != nil || !strings.Contains(out, "at far, near") {
		t.Errorf("revoke: %v\n%s", err, out)
	}
	for _, site := range []string{"far", "near"} {
		if _, ok := keysAt(site)[id]; ok || len(keysAt(site)) != 1 {
			t.Errorf("%s has %+v", site, keysAt(site))
		}
	}
	for _, bad := range []string{id, "shop", "../apps/chess"} {
		if out, err := key("revoke", bad); err == nil || !strings.Contains(err.Error(), "key list") {
			t.Errorf("revoke of %q: %v\n%s", bad, err, out)
		}
	}
	for _, args := range [][]string{{"create"}, {"create", "a/b"}, {"create", "x", "--app", ""}, {"create", "x", "--key", path, "--out", path},
		{"create", "x", "--key", filepath.Join(dir, "none")}, {"list", "x"}} {
		if out, err := key(args...); err == nil {
			t.Errorf("%q was accepted:\n%s", args, out)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("files: %q", left)
	}
	near.Kill()
	if out, err := key("create", "late", "--out", filepath.Join(dir, "late.pem")); err == nil || !strings.Contains(err.Error(), near.Address) {
		t.Errorf("without an agent: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "late.pem")); err == nil {
		t.Error("a key was made that no site knows")
	}
}

func TestTokenCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.pem")
	private, err := ticket.GenerateLaunchKey(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ticket.LoadLaunchPublic(path)
	if err != nil || !public.Equal(private.Public()) {
		t.Fatal(err)
	}
	id, text, err := ticket.DescribeLaunchKey(public)
	if err != nil {
		t.Fatal(err)
	}
	registered, err := ticket.ParseLaunchKey(id, "shop", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := func(args ...string) (string, error) {
		t.Helper()
		return command(t, tokenCommand(), append([]string{"create", "--key", path, "--app", "chess"}, args...)...)
	}
	read := func(text string) ticket.Launch {
		t.Helper()
		l, err := ticket.LaunchKeys{id: registered}.Verify(strings.TrimSpace(text), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	out, err := token()
	if err != nil {
		t.Fatal(err)
	}
	if l := read(out); l.Expires.Sub(l.Issued) != 10*time.Minute || l.Apps[0] != "chess" || l.Subject != "" {
		t.Errorf("%+v", l)
	}
	out, err = token("--app", "golf", "--subject", "ada", "--ttl", "90s", "--param", "model=a=b,c", "--param", "colour=", "--max-sessions", "2",
		"--max-duration", "30m", "--origin", "https://shop.example", "--site", "near,far", "--residency", "eu", "--meta", "order=7")
	if err != nil {
		t.Fatal(err)
	}
	l := read(out)
	if colour, ok := l.Params["colour"]; !ok || colour != "" || l.Params["model"] != "a=b,c" || l.Meta["order"] != "7" || l.Subject != "ada" ||
		l.MaxSessions != 2 || l.MaxDuration != 30*time.Minute || l.Expires.Sub(l.Issued) != 90*time.Second ||
		len(l.Apps) != 2 || len(l.Sites) != 2 || l.Origins[0] != "https://shop.example" || l.Residency[0] != "eu" {
		t.Errorf("%+v", l)
	}
	out, err = token("--url", "https://play.example/")
	link, tail, ok := strings.Cut(out, "#token=")
	if err != nil || !ok || link != "https://play.example/play/chess" {
		t.Fatalf("%v, %s", err, out)
	}
	read(tail)

	for name, args := range map[string][]string{
		"too long": {"--ttl", "16m"}, "no time": {"--ttl", "0s"}, "no value": {"--param", "model"}, "twice": {"--meta", "a=1", "--meta", "a=2"},
		"origin with a path": {"--origin", "https://shop.example/page"}, "link of two apps": {"--app", "golf", "--url", "https://play.example"},
		"link of no router": {"--url", "play.example"}, "sessions of nobody": {"--max-sessions", "1"}, "half a second": {"--max-duration", "500ms"},
		"a key that is none": {"--key", os.DevNull}, "no such flag": {"--user", "ada"},
	} {
		if out, err := token(args...); err == nil {
			t.Errorf("%s: accepted, %s", name, out)
		}
	}
	if _, err := command(t, tokenCommand(), "create", "--key", path); err == nil || !strings.Contains(err.Error(), `"app"`) {
		t.Errorf("without an app: %v", err)
	}
}
