package agents

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestLogin: who looks again and again logs in once in half of a token's time, and again when Nomad refuses the token.
func TestLogin(t *testing.T) {
	dir := t.TempDir()
	id, statement := filepath.Join(dir, "client-id"), filepath.Join(dir, "statement")
	testkit.Must(t, os.WriteFile(id, []byte("node-1\n"), 0o600))
	testkit.Must(t, os.WriteFile(statement, []byte("signed"), 0o600))
	var mu sync.Mutex
	logins, good, lasts := 0, "", time.Hour
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/v1/acl/login":
			logins++
			good = fmt.Sprint("token-", logins)
			fmt.Fprintf(w, `{"SecretID": %q, "ExpirationTime": %q}`, good, time.Now().Add(lasts).UTC().Format(time.RFC3339Nano))
		case r.Header.Get("X-Nomad-Token") != good:
			http.Error(w, "Permission denied", http.StatusForbidden)
		default:
			_, _ = w.Write([]byte(`{"ID": "node-1", "Status": "ready"}`))
		}
	}))
	defer s.Close()
	looks := func(l *Login, n int) (did int) {
		t.Helper()
		count := func() int { mu.Lock(); defer mu.Unlock(); return logins }
		before := count()
		for range n {
			if err := (Nomad{Address: s.URL, IDFile: id, Statement: statement, Login: l}).Ready(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return count() - before
	}
	kept := &Login{}
	if n := looks(kept, 5); n != 1 {
		t.Errorf("five looks: %d logins", n)
	}
	if n := looks(nil, 3); n != 3 {
		t.Errorf("three calls that keep nothing: %d logins", n)
	}
	// Another token is good now, as when this one was withdrawn.
	if err := (Nomad{Address: s.URL, IDFile: id, Statement: statement, Login: kept}).Ready(t.Context()); err == nil {
		t.Error("a token that was withdrawn is taken")
	}
	if n := looks(kept, 3); n != 1 {
		t.Errorf("after that: %d logins", n)
	}
	mu.Lock()
	lasts = -time.Second
	mu.Unlock()
	if n := looks(&Login{}, 3); n != 3 {
		t.Errorf("with tokens that are over: %d logins", n)
	}
}
