package seat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// serve serves handler on l until stop is called. stop gives running requests
// one second to finish.
func serve(log *slog.Logger, l net.Listener, handler http.Handler) (stop func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
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
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(wire.Problem{Type: kind, Title: title, Status: status, Detail: detail}); err != nil {
		slog.Debug("write problem document", "error", err)
	}
}
