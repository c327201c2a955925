package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

// markApp is the app by whose capacity the delay of a change is measured.
const markApp = "mark"

// site is a simulated site.
type site struct {
	name    string
	world   *world
	server  *http.Server
	url     string
	teller  *facts.Teller
	brains  []wire.Instance
	routers []wire.Instance

	mu      sync.Mutex
	apps    map[string]wire.App
	texts   map[string][]byte // of apps, as in Consul
	index   uint64            // of Consul
	changed chan struct{}     // closed at the next change
}

func (w *world) newSite(i int) (*site, error) {
	s := &site{name: fmt.Sprintf("site-%03d", i), world: w, index: 10, changed: make(chan struct{})}
	l, err := net.Listen("tcp", fmt.Sprintf("127.55.%d.%d:0", i/200, i%200+1))
	if err != nil {
		return nil, fmt.Errorf("listen as a site's router: %w", err)
	}
	s.url = "http://" + l.Addr().String()
	for n := range 2 {
		s.brains = append(s.brains, wire.Instance{ID: fmt.Sprint("brain-", n), Site: s.name, URL: fmt.Sprintf("wss://brain%d.%s.example/v1/connect", n, s.name), Address: "10.0.0.1:1", Internal: "10.0.0.1:2", Key: "sha256:0123456789abcdef0123456789abcdef", Healthy: true})
	}
	// One address for all routers of a site, as behind a load balancer.
	s.routers = []wire.Instance{{ID: "router-0", Site: s.name, URL: s.url, Address: "10.0.0.1:3", Healthy: true}}
	s.apps, s.texts, s.teller = apps(w.o.apps), map[string][]byte{}, facts.NewTeller(s.name)
	for id, a := range s.apps {
		s.texts[id], _ = json.Marshal(a)
	}
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	go s.server.Serve(&counted{l, &w.bytesRouters})
	return s, nil
}

// apps are those of a site, as brains publish them.
func apps(n int) map[string]wire.App {
	out := map[string]wire.App{}
	for i := range n {
		id := fmt.Sprintf("app-%03d", i)
		if i == 0 {
			id = markApp
		}
		out[id] = wire.App{
			ID: id, Version: uint64(i + 1), Title: "The application " + id, Picture: "/assets/" + id + ".jpg", Access: wire.AccessPublic,
			Description: "What the application " + id + " is for, in the two sentences that a page shows below its title. It can do this and that.",
			Display:     wire.Display{Width: 1920, Height: 1080, FPS: 60, Pointer: wire.PointerAbsolute, Audio: true},
			Params:      []wire.Param{{Name: "project", Pattern: "[a-z0-9-]{1,64}", Default: "demo"}, {Name: "token", Secret: true}},
			Capacity:    wire.Capacity{Idle: 3, Busy: 20, Warm: 3, Max: 100, ColdStartMS: 4200, SessionMS: 900_000}, Updated: time.Now().UTC(),
		}
	}
	return out
}

// set changes the capacity of some apps.
func (s *site) set(ids []string, change func(*wire.Capacity)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps, s.texts = maps.Clone(s.apps), maps.Clone(s.texts)
	for _, id := range ids {
		a := s.apps[id]
		change(&a.Capacity)
		a.Updated = time.Now().UTC()
		s.apps[id] = a
		s.texts[id], _ = json.Marshal(a)
	}
	s.index++
	close(s.changed)
	s.changed = make(chan struct{})
}

// some changes as many apps as change in a second.
func (s *site) some() {
	for range s.world.o.changes {
		s.set([]string{fmt.Sprintf("app-%03d", 1+rand.IntN(s.world.o.apps-1))}, func(c *wire.Capacity) { c.Idle, c.Busy = rand.IntN(6), rand.IntN(90) })
	}
}

func (s *site) now() (map[string]wire.App, uint64, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apps, s.index, s.changed
}

func (s *site) told() *facts.Teller {
	apps, _, _ := s.now()
	s.teller.Set(apps, s.brains, s.routers, wire.SiteInfo{Site: s.name, Residency: []string{"eu"}})
	return s.teller
}

// handler answers as the site's routers do.
func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, r *http.Request) {
		s.world.asksRouters.Add(1)
		rw.Header().Set("Content-Type", "application/json")
		out := wire.Health{Status: "ok", Site: s.name}
		if r.Header.Get("Authorization") != "" {
			teller := s.told()
			if a, ok := teller.Health(r.URL.Query().Get("have"), strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")); ok {
				if a.Zipped {
					rw.Header().Set("Content-Encoding", "gzip")
				}
				rw.Write(a.Body)
				return
			}
			out.Facts = teller.Version()
		}
		json.NewEncoder(rw).Encode(out)
	})
	mux.HandleFunc("GET "+wire.FactsPath, func(rw http.ResponseWriter, r *http.Request) {
		s.world.asksRouters.Add(1)
		out := s.told().Since(r.URL.Query().Get("have"))
		if r.URL.Query().Get("distances") != "" {
			out.Distances = s.world.row(s.name)
		}
		text, _ := json.Marshal(out)
		rw.Header().Set("Content-Type", "application/json")
		if len(text) < 2<<10 {
			rw.Write(text)
			return
		}
		rw.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(rw, gzip.BestSpeed)
		z.Write(text)
		z.Close()
	})
	// What routers asked each other for distances before.
	mux.HandleFunc("GET /v1/sites", func(rw http.ResponseWriter, r *http.Request) {
		s.world.asksRouters.Add(1)
		out := wire.SitesResponse{Entry: s.name}
		for _, of := range s.world.sites {
			v := wire.SiteView{Site: of.name, Healthy: true, RouterURL: of.url, Apps: map[string]wire.Capacity{}}
			apps, _, _ := of.now()
			for id, a := range apps {
				v.Apps[id] = a.Capacity
			}
			if of == s {
				v.Distances = s.world.row(s.name)
			}
			out.Sites = append(out.Sites, v)
		}
		json.NewEncoder(rw).Encode(out)
	})
	return mux
}

// row is what a site's router has measured.
func (w *world) row(from string) map[string]wire.Distance {
	out := map[string]wire.Distance{}
	for _, s := range w.sites {
		if s.name != from {
			out[s.name] = wire.Distance{RTTMS: float64(5 + len(s.name) + rand.IntN(150)), ErrorMS: 0.5, Measured: true}
		}
	}
	return out
}

// counted counts the bytes that are written to its connections.
type counted struct {
	net.Listener
	bytes *atomic.Int64
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{c, l.bytes}, nil
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// body reads an answer and closes it.
func body(res *http.Response) (string, error) {
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return strings.TrimSpace(string(text)), err
}
