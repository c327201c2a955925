package router

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// planet has n sites, spread at random, each with one app.
func planet(n int) Snapshot {
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

// BenchmarkLaunch places sessions through the whole handler, without a network.
func BenchmarkLaunch(b *testing.B) {
	_, key, _ := ed25519.GenerateKey(nil)
	signer := ticket.NewSigner(key, "bench")
	for _, n := range []int{3, 20, 200} {
		for _, measured := range []int{0, 8, n} {
			b.Run(fmt.Sprintf("sites=%d/measured=%d", n, measured), func(b *testing.B) {
				view := &stage{snap: planet(n)}
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
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						in := httptest.NewRequest(http.MethodPost, "/v1/sessions", strings.NewReader(string(body)))
						in.Header.Set("Content-Type", "application/json")
						out := httptest.NewRecorder()
						r.ServeHTTP(out, in)
						if out.Code != http.StatusCreated {
							b.Errorf("%d: %s", out.Code, out.Body)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "launches/s")
			})
		}
	}
}
