package registrar

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// serveDrain answers the node's drain until ctx ends.
func (r *Registrar) serveDrain(ctx context.Context) {
	path := filepath.Join(r.cfg.Dir, wire.NodeSocket)
	// Of a registrar that was killed, or of the one that this one takes over from.
	os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		r.log.Warn("the node's drain cannot ask for its seats: idle seats stay until the drain's deadline", "error", err)
		return
	}
	// A later registrar has made a socket of its own there.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.NodeSeatsPath, func(rw http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		seats := maps.Clone(r.last)
		r.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(seats)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	server.Serve(listener)
}
