package drain

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSessions: stream hosts that are dead or idle hold nothing; one that cannot be understood might.
func TestSessions(t *testing.T) {
	dir := testkit.ShortDir(t)
	count := Sessions(dir)
	if n, err := count(t.Context()); n != 0 || err != nil {
		t.Errorf("an empty node: %d, %v", n, err)
	}
	streamHost := func(name, answer string) {
		testkit.Must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		l, err := net.Listen("unix", filepath.Join(dir, name, wire.ControlSocket))
		testkit.Must(t, err)
		if answer == "" { // it was killed, and left its socket
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			testkit.Must(t, l.Close())
			return
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != wire.SeatPath || answer == "404" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			// The stream goes on, as that of a stream host does.
			_, _ = w.Write([]byte(answer + "\n"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
	}
	streamHost("idle", `{"state": "idle"}`)
	streamHost("dead", "")
	if n, err := count(t.Context()); n != 0 || err != nil {
		t.Errorf("without a session: %d, %v", n, err)
	}
	streamHost("plays", `{"state": "streaming"}`)
	streamHost("away", `{"state": "detached"}`)
	if n, err := count(t.Context()); n != 2 || err != nil {
		t.Errorf("with two sessions: %d, %v", n, err)
	}
	streamHost("strange", "404")
	if n, err := count(t.Context()); n != 3 || err == nil || !strings.Contains(err.Error(), "strange") {
		t.Errorf("with a stream host that says nothing: %d, %v", n, err)
	}
}
