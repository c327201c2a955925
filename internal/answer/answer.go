// Package answer makes every error that a public HTTP server answers a problem
// (RFC 9457, wire.Problem), also those that net/http and libraries write as plain
// text: a method that no route has, a range that cannot be served, a WebSocket
// handshake that is none.
//
//	server := &http.Server{Handler: answer.Problems(mux), MaxHeaderBytes: answer.ReadHeader}
//
// Two kinds of error stay plain text, because net/http writes them before any
// handler: a request that is not HTTP (400), and headers beyond ReadHeader (431).
package answer

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// MaxHeader is the largest size of a request's headers, in bytes. A request of
	// ours has two kilobytes; a launch token is the largest part.
	MaxHeader = 16 << 10
	// ReadHeader is for http.Server.MaxHeaderBytes. It is more than MaxHeader, so that
	// headers that are a little too large get a problem.
	ReadHeader = 32 << 10
)

// Problems answers for next wherever next answers an error that is no problem.
func Problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if size(r.Header) > MaxHeader {
			Write(rw, HeadersTooLarge())
			return
		}
		w := &writer{ResponseWriter: rw}
		next.ServeHTTP(w, r)
		w.finish(r)
	})
}

// HeadersTooLarge is the problem of a request with headers above MaxHeader.
func HeadersTooLarge() wire.Problem {
	return wire.Problem{Type: wire.ProblemHeaders, Title: "The request headers are too large",
		Status: http.StatusRequestHeaderFieldsTooLarge, Detail: "Send headers of at most 16 KiB in all."}
}

func size(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// Write answers with a problem.
func Write(rw http.ResponseWriter, p wire.Problem) {
	h := rw.Header()
	h.Set("Content-Type", wire.ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("Content-Range")
	h.Del("ETag")
	rw.WriteHeader(p.Status)
	_ = json.NewEncoder(rw).Encode(p) // the caller may be gone
}

// writer holds back an answer that is an error and no problem.
type writer struct {
	http.ResponseWriter
	wrote  bool
	status int // of the answer that is held back; else 0
	text   strings.Builder
}

// maxText is how much is kept of an error's text.
const maxText = 256

func (w *writer) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = status >= http.StatusOK // an informational status is not the answer
	if status >= http.StatusBadRequest && w.Header().Get("Content-Type") != wire.ProblemType {
		w.status = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	if w.status == 0 {
		return w.ResponseWriter.Write(b)
	}
	w.text.Write(b[:min(len(b), maxText-w.text.Len())])
	return len(b), nil
}

// Unwrap lets http.ResponseController, and so a WebSocket, take the connection over.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish answers for an error that was held back.
func (w *writer) finish(r *http.Request) {
	if w.status == 0 {
		return
	}
	p := wire.Problem{Status: w.status, Title: http.StatusText(w.status)}
	text := strings.TrimSpace(w.text.String())
	switch {
	case w.status == http.StatusNotFound:
		p.Type, p.Detail = wire.ProblemNotFound, "Nothing is served at this path."
	case w.status == http.StatusMethodNotAllowed:
		p.Type, p.Detail = wire.ProblemMethod, r.Method+" is not allowed here; the header Allow lists what is."
	case w.status >= http.StatusInternalServerError:
		// Its text may be for operators alone.
		p.Type, p.Detail = wire.ProblemInternal, "The request is not the cause; try again in a moment."
	default:
		p.Type, p.Detail = wire.ProblemMalformed, text
	}
	Write(w.ResponseWriter, p)
}
