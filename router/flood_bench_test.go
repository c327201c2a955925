package router

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
)

// flooded is a router whose caller has no launches left. Its log is as in production: a
// handler that formats, above the level of refusals.
func flooded(b *testing.B) *Router {
	signer := testkit.Signer(b)
	r, err := New(Config{Site: "site-000", URL: "http://site-000.example", View: &stage{snap: randomSites(3)}, Signer: signer,
		Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: Limits{Launches: Rate{PerSecond: 1e-9, Burst: 1}, Requests: Rate{PerSecond: 1e-9, Burst: 1}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	r.launches.takeFor("127.0.0.1")
	r.launches.takeFor("192.0.2.1") // httptest.NewRequest's
	return r
}

// BenchmarkRefusedLaunch refuses a launch of a network that has launched too often,
// through the whole handler, without a network.
func BenchmarkRefusedLaunch(b *testing.B) {
	r := flooded(b)
	b.ReportAllocs()
	before := processor()
	for b.Loop() {
		in := httptest.NewRequest(http.MethodPost, "/v1/sessions", strings.NewReader(`{"app":"chess"}`))
		in.Header.Set("Content-Type", "application/json")
		out := &sink{header: http.Header{}}
		r.ServeHTTP(out, in)
		if out.status != http.StatusTooManyRequests {
			b.Fatal(out.status)
		}
	}
	b.ReportMetric(float64(processor()-before)/float64(b.N)/1e3, "cpu-µs/op")
}

// BenchmarkRefusedLaunchLoopback does the same over a real connection, with a client
// that does next to nothing.
func BenchmarkRefusedLaunchLoopback(b *testing.B) {
	server := httptest.NewServer(flooded(b))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	body := `{"app":"chess"}`
	request := fmt.Appendf(nil, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	answers := bufio.NewReader(conn)
	b.ReportAllocs()
	before := processor()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != http.StatusTooManyRequests {
			b.Fatal(res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	b.ReportMetric(float64(processor()-before)/float64(b.N)/1e3, "cpu-µs/op")
}
