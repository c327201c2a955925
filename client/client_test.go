package client_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/client"
	"github.com/nearcast/nearcast/internal/testkit"
)

// TestGenerated: client.gen.go is what the generator makes of the routers' document.
func TestGenerated(t *testing.T) {
	want := filepath.Join(t.TempDir(), "client.gen.go")
	generate := exec.CommandContext(testkit.Context(t, 5*time.Minute), "go", "tool", "-modfile=../dev/tools/oapi-codegen/go.mod", "oapi-codegen", "-config", "generate.yaml", "-o", want, "../router/openapi.yaml")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", generate, err, out)
	}
	made, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	is, err := os.ReadFile("client.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, is) {
		t.Error("client.gen.go is not what router/openapi.yaml says: run make client")
	}
}

// TestExampleIsInDocs: what docs/API.md shows compiles.
func TestExampleIsInDocs(t *testing.T) {
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(code), "func Example() {\n")
	body = strings.ReplaceAll(strings.TrimSuffix(body, "}\n"), "\n\t", "\n")
	if body = strings.TrimPrefix(body, "\t"); body == "" || !strings.Contains(string(doc), "```go\n"+body+"```\n") {
		t.Errorf("docs/API.md does not have:\n%s", body)
	}
}

// TestWrongAnswers: what is no router says so. What routers answer is tested with them, in package router.
func TestWrongAnswers(t *testing.T) {
	status, text := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		w.Write([]byte(text))
	}))
	defer server.Close()
	c, err := client.New(server.URL, "nck_x")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []int{200, 204, 301, 502} {
		status = s
		if text = ""; s != 204 {
			text = "<html>"
		}
		n := 0
		for _, err := range c.Sessions(t.Context(), client.ListSessionsParams{}) {
			if n++; err == nil || errors.As(err, new(client.Problem)) {
				t.Errorf("status %d: %v", s, err)
			}
		}
		if n != 1 {
			t.Errorf("status %d gave %d errors", s, n)
		}
	}
	for _, router := range []string{"", "play.example", "ftp://play.example", "https://"} {
		if _, err := client.New(router, ""); err == nil || !strings.Contains(err.Error(), "https://play.example") {
			t.Errorf("%q: %v", router, err)
		}
	}
}
