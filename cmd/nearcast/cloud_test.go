package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/publish"
	"github.com/nearcast/nearcast/internal/testkit"
)

const oneSite = `{"sites": {"value": {"eu-1": {"edge_nodes": 3, "content_bucket": "content", "router_url": "https://eu-1.play.example", "brain_url": "wss://brain.eu-1.play.example"}}},
	"connect": {"value": {"eu-1": "aws ssm start-session portNumber=4646"}}}`

// TestCloudErrors: what is missing is said before anything is asked or changed, with what to do.
func TestCloudErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	outputs, app := file("outputs.json", oneSite), file("app.nomad.hcl", `variable "warm" {}`)
	for _, c := range []struct {
		args string
		want string
	}{
		{"doctor --outputs " + outputs, "aws ssm start-session portNumber=8500"},
		{"up --outputs " + outputs + " --site eu-2", "--site: there is no site \"eu-2\"; there are: eu-1"},
		{"up --outputs " + filepath.Join(dir, "none"), "--outputs: open"},
		{"up --outputs " + app, "terraform output -json"},
		{"up --outputs " + outputs + " --cluster-file " + file("edge.json", `{"shared/ca.pem": ""}`), "has no management tokens"},
		{"publish " + app + " --var size=1", "of a variable that"},
		{"publish " + app + " --content " + dir + " --prefix x", "needs --prefix, and a variable manifest"},
	} {
		cmd := root()
		cmd.SetArgs(append([]string{"cloud", "--nomad", "127.0.0.1:1", "--consul", "127.0.0.1:1"}, strings.Fields(c.args)...))
		cmd.SetOut(&bytes.Buffer{})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
	o, err := cloud.ReadOutputs([]byte(oneSite))
	testkit.Must(t, err)
	settings := settingFlags{set: []string{"router.count=9"}, file: file("settings", "# mine\n\n router.count=5\nbrain.canary=0 \n")}
	if got, err := settings.read(o); err != nil || len(got) != 3 || got[1].Value != "0" || got[2].Value != "9" {
		t.Errorf("settings: %+v, %v", got, err)
	}
}

// TestUploadContent: the version that is in the bucket is the one that the job gets.
func TestUploadContent(t *testing.T) {
	store := testkit.StartS3(t, "eu-1", "content")
	o, err := cloud.ReadOutputs([]byte(oneSite))
	testkit.Must(t, err)
	var said bytes.Buffer
	dir := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("model"), 0o600))
	to := publish.Store{Prefix: "game/", Endpoint: store.URL}
	first, err := uploadContent(t.Context(), &said, o.Primary(), o.Sites, dir, to, time.Minute)
	if err != nil || !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(first) {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := uploadContent(t.Context(), &said, o.Primary(), o.Sites, dir, to, time.Minute)
	if err != nil || again != first || strings.Count(said.String(), "1 were there already") != 1 {
		t.Errorf("%q, %v; said %q", again, err, said.String())
	}
	if _, err := uploadContent(t.Context(), &said, o.Primary(), []cloud.Site{{Name: "eu-2"}}, dir, to, time.Minute); err == nil || !strings.Contains(err.Error(), "no content_bucket of site eu-2") {
		t.Errorf("to a site without a bucket: %v", err)
	}
}
