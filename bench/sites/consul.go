package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// consul answers what Consul would of the other sites; all else the real one does.
func (w *world) consul(address string) http.Handler {
	home := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		of := w.site(r.URL.Query().Get("dc"))
		switch path := r.URL.Path; {
		case path == "/v1/catalog/datacenters":
			names := []string{homeSite}
			for _, s := range w.sites {
				names = append(names, s.name)
			}
			json.NewEncoder(rw).Encode(names)
		case path == "/v1/coordinate/datacenters":
			w.coordinates(rw)
		case of == nil:
			home.ServeHTTP(rw, r)
		default:
			n := w.counting(r)
			defer n()
			of.consul(rw, r)
		}
	})
}

// counting counts a question about another site, and whether it waits for a change.
func (w *world) counting(r *http.Request) (done func()) {
	w.asksConsul.Add(1)
	if r.URL.Query().Get("index") == "" {
		return func() {}
	}
	now := w.blocking.Add(1)
	for peak := w.blockingPeak.Load(); now > peak && !w.blockingPeak.CompareAndSwap(peak, now); peak = w.blockingPeak.Load() {
	}
	return func() { w.blocking.Add(-1) }
}

// consul answers a question about a site; apps are what changes.
func (s *site) consul(rw http.ResponseWriter, r *http.Request) {
	last, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = time.Minute
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	isApps := strings.HasPrefix(r.URL.Path, "/v1/kv/"+strings.TrimSuffix(wire.AppsPrefix, "/"))
	_, index, changed := s.now()
	if !isApps {
		index, changed = 10, nil // a nil channel never changes
	}
	for last >= index && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-changed:
			_, index, changed = s.now()
		}
	}
	rw.Header().Set("X-Consul-Index", fmt.Sprint(index))
	rw.Header().Set("X-Consul-Knownleader", "true")
	type pair struct {
		Key   string
		Value []byte
	}
	var out any
	switch path := r.URL.Path; {
	case isApps:
		var list []pair
		s.mu.Lock()
		texts := s.texts
		s.mu.Unlock()
		for id, text := range texts {
			list = append(list, pair{wire.AppsPrefix + id, text})
		}
		out = list
	case path == "/v1/kv/"+wire.SiteKey:
		text, _ := json.Marshal(wire.SiteInfo{Site: s.name, Residency: []string{"eu"}})
		out = []pair{{wire.SiteKey, text}}
	case strings.HasSuffix(path, wire.RouterService):
		out = entries(wire.RouterService, s.routers)
	default:
		out = entries(wire.BrainService, s.brains)
	}
	cw := &countedWriter{rw, s.world}
	json.NewEncoder(cw).Encode(out)
}

type countedWriter struct {
	http.ResponseWriter
	world *world
}

func (w *countedWriter) Write(b []byte) (int, error) {
	w.world.bytesConsul.Add(int64(len(b)))
	return w.ResponseWriter.Write(b)
}

// entries are instances as Consul's health API gives them.
func entries(service string, list []wire.Instance) (out []any) {
	for _, in := range list {
		out = append(out, map[string]any{
			"Node": map[string]any{"Node": "edge-1", "Address": "10.0.0.1"},
			"Service": map[string]any{"ID": service + "-" + in.ID, "Service": service, "Address": "10.0.0.1", "Port": 1,
				"Meta": map[string]string{"instance": in.ID, "site": in.Site, "url": in.URL, "internal": in.Internal, "key": in.Key}},
			"Checks": []any{map[string]any{"CheckID": "ttl", "Status": "passing"}},
		})
	}
	return out
}

// coordinates are those of all sites, three servers each.
func (w *world) coordinates(rw http.ResponseWriter) {
	type coord struct {
		Vec                       [8]float64
		Error, Adjustment, Height float64
	}
	var out []any
	for i, s := range w.sites {
		var servers []any
		for n := range 3 {
			c := coord{Error: 0.1, Height: 1e-4}
			c.Vec[0], c.Vec[1] = float64(i%20)*0.01, float64(i/20)*0.01+float64(n)*1e-5
			servers = append(servers, map[string]any{"Node": fmt.Sprint("server-", n), "Coord": c})
		}
		out = append(out, map[string]any{"Datacenter": s.name, "AreaID": "wan", "Coordinates": servers})
	}
	json.NewEncoder(rw).Encode(out)
}
