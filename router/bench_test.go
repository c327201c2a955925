package router

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// randomSites is n sites at random places, each with one app.
func randomSites(n int) Snapshot {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	out := Snapshot{Ready: true, Sites: make([]Site, n)}
	x, y := make([]float64, n), make([]float64, n)
	for i := range n {
		name := fmt.Sprintf("site-%03d", i)
		x[i], y[i] = random.Float64()*200, random.Float64()*100
		out.Sites[i] = Site{
			Name: name, Brains: []wire.Instance{brain(name)}, Routers: []wire.Instance{instance(name)},
			Apps:      map[string]wire.App{"chess": app("chess", 3, capacity(random.IntN(5), random.IntN(5)))},
			Distances: map[string]wire.Distance{},
		}
	}
	for i := range n {
		for j := range n {
			if i != j {
				out.Sites[i].Distances[out.Sites[j].Name] = wire.Distance{RTTMS: 1 + math.Hypot(x[i]-x[j], y[i]-y[j]), ErrorMS: 3}
			}
		}
	}
	return out
}

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// processor is the processor time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLaunch places sessions through the whole handler, without a network.
func BenchmarkLaunch(b *testing.B) {
	signer := testkit.Signer(b)
	for _, n := range []int{3, 20, 200} {
		for _, measured := range []int{0, 8, n} {
			b.Run(fmt.Sprintf("sites=%d/measured=%d", n, measured), func(b *testing.B) {
				view := &stage{snap: randomSites(n)}
				r, err := New(Config{Site: "site-000", URL: "http://site-000.example", View: view, Signer: signer,
					Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				req := wire.LaunchRequest{App: "chess", RTTMS: map[string]float64{}}
				for i := range min(measured, n) {
					req.RTTMS[view.snap.Sites[i].Name] = float64(10+i) + 0.25
				}
				body, _ := json.Marshal(req)
				b.ReportAllocs()
				b.ResetTimer()
				before := processor()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						in := httptest.NewRequest(http.MethodPost, "/v1/sessions", strings.NewReader(string(body)))
						in.Header.Set("Content-Type", "application/json")
						out := &sink{header: http.Header{}}
						r.ServeHTTP(out, in)
						if out.status != http.StatusCreated {
							b.Error(out.status)
							return
						}
					}
				})
				// Processor time, because other work may share the machine.
				b.ReportMetric(float64(processor()-before)/float64(b.N)/1e3, "cpu-µs/op")
			})
		}
	}
}

// BenchmarkLaunchLoopback places sessions over real connections. The clients
// share the processors with the router.
func BenchmarkLaunchLoopback(b *testing.B) {
	signer := testkit.Signer(b)
	view := &stage{snap: randomSites(200)}
	r, err := New(Config{Site: "site-000", URL: "http://site-000.example", View: view, Signer: signer,
		Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(r)
	defer server.Close()
	req := wire.LaunchRequest{App: "chess", RTTMS: map[string]float64{}}
	for i := range 8 {
		req.RTTMS[view.snap.Sites[i].Name] = float64(10+i) + 0.25
	}
	body, _ := json.Marshal(req)
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	took := make([]time.Duration, b.N)
	var n atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	before := processor()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			begin := time.Now()
			res, err := client.Post(server.URL+"/v1/sessions", "application/json", strings.NewReader(string(body)))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			took[n.Add(1)-1] = time.Since(begin)
		}
	})
	b.ReportMetric(float64(processor()-before)/float64(b.N)/1e3, "cpu-µs/op")
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "launches/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
