package router

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

// page is a ResponseWriter that keeps the body.
type page struct {
	sink
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) { return p.text.Write(b) }

// factsView is a site with 100 apps, as brains publish them, among 200.
func factsView() Snapshot {
	view := randomSites(200)
	apps := map[string]wire.App{}
	for i := range 100 {
		id := fmt.Sprintf("app-%03d", i)
		apps[id] = wire.App{
			ID: id, Version: uint64(i + 1), Title: "The application " + id, Picture: "/assets/" + id + ".jpg", Access: wire.AccessPublic,
			Description: "What the application " + id + " is for, in the two sentences that a page shows below its title. It can do this and that.",
			Display:     wire.Display{Width: 1920, Height: 1080, FPS: 60, Pointer: wire.PointerAbsolute, Audio: true},
			Params:      []wire.Param{{Name: "project", Pattern: "[a-z0-9-]{1,64}", Default: "demo"}, {Name: "token", Secret: true}},
			Capacity:    wire.Capacity{Idle: 3, Busy: 20, Warm: 3, Max: 100, ColdStartMS: 4200, SessionMS: 900_000},
		}
	}
	view.Sites[0].Apps = apps
	return view
}

// BenchmarkFacts answers routers of other sites through the whole handler, without a network:
// 400 of them check in turn, and ask for what changed where the check does not say so, while
// an app changes with each 100 checks. So many check in a second among 200 sites.
func BenchmarkFacts(b *testing.B) {
	signer := testkit.Signer(b)
	view := &stage{snap: factsView()}
	r, err := New(Config{Site: "site-000", URL: "http://site-000.example", View: view, Signer: signer,
		Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	token := "Bearer " + facts.NewTokens(signer).For("site-000")
	change := func(i int) {
		view.set(func(s *Snapshot) {
			apps := maps.Clone(s.Sites[0].Apps)
			id := fmt.Sprintf("app-%03d", i)
			one := apps[id]
			one.Capacity.Idle++
			apps[id] = one
			s.Sites[0].Apps = apps
		})
	}
	asks, spent := 0, time.Duration(0)
	ask := func(path string, out any) {
		asks++
		in := httptest.NewRequest(http.MethodGet, path, nil)
		in.Header.Set("Authorization", token)
		in.Header.Set("Accept-Encoding", "gzip")
		p := &page{sink: sink{header: http.Header{}}}
		before := processor()
		r.ServeHTTP(p, in)
		spent += processor() - before
		body := io.Reader(&p.text)
		if p.header.Get("Content-Encoding") == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				b.Fatal(err)
			}
		}
		if err := json.NewDecoder(body).Decode(out); p.status != http.StatusOK || err != nil {
			b.Fatal(p.status, err)
		}
	}
	have := make([]string, 400)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%100 == 0 {
			change(i / 100 % 100)
		}
		var health wire.Health
		was := &have[i%len(have)]
		if ask("/healthz?have="+*was, &health); health.Changes != nil || health.Facts == *was {
			*was = health.Facts
			continue
		}
		var of struct{ Version string }
		ask(wire.FactsPath+"?have="+*was, &of)
		*was = of.Version
	}
	b.ReportMetric(float64(spent)/float64(b.N)/1e3, "cpu-µs/check")
	b.ReportMetric(float64(asks)/float64(b.N), "answers/check")
}
