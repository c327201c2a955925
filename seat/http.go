package seat

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/wire"
)

// apiLimits bound the connections to the seat API. A site has a few brains, each
// with one attachment at most, but everybody who reaches the port can connect.
var apiLimits = guard.Limits{
	Unproven: 64, Proven: 16,
	Calm: 10 * time.Second, Busy: 2 * time.Second,
}

// serveAPI is serve with TLS and apiLimits.
func serveAPI(log *slog.Logger, l net.Listener, config *tls.Config, handler http.Handler) (stop func()) {
	g := guard.New(apiLimits, func(why string) { log.Warn("cut a connection to the seat API", "why", why) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	end := serve(log, tls.NewListener(g.Listener(l), config), handler, g.Attach)
	return func() {
		end()
		cancel()
		<-done
	}
}

// serve serves handler on l until stop is called. stop gives running requests
// one second to finish.
func serve(log *slog.Logger, l net.Listener, handler http.Handler, options ...func(*http.Server)) (stop func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	for _, set := range options {
		set(server)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve", "address", l.Addr().String(), "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}
}

// decodeBody reads a JSON body. If it fails, it has answered the request.
func decodeBody(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "" && kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, wire.ProblemMediaType, "Not JSON", "send application/json")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, wire.MaxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, wire.ProblemTooLarge, "Body too large", fmt.Sprintf("send at most %d bytes", wire.MaxBody))
	case err != nil:
		refuse(w, http.StatusBadRequest, wire.ProblemMalformed, "Malformed body", err.Error())
	}
	return err == nil
}

// refuse answers a request with a problem document.
func refuse(w http.ResponseWriter, status int, kind, title, detail string) {
	w.Header().Set("Content-Type", wire.ProblemType)
	w.Header().Set(wire.ClockHeader, time.Now().UTC().Format(time.RFC3339Nano))
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(wire.Problem{Type: kind, Title: title, Status: status, Detail: detail}); err != nil {
		slog.Debug("write problem document", "error", err)
	}
}
