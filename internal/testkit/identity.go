package testkit

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"

	"github.com/nearcast/nearcast/internal/identity"
)

// Identity makes the key of a process.
func Identity(t testing.TB) *identity.Identity {
	t.Helper()
	i, err := identity.New()
	Must(t, err)
	return i
}

// Peers are identity.Peers by key.
type Peers map[string]identity.Peer

// Peer implements identity.Peers.
func (p Peers) Peer(_ context.Context, key string) (identity.Peer, error) {
	if peer, ok := p[key]; ok {
		return peer, nil
	}
	return identity.Peer{}, identity.ErrStranger
}

// Directory answers who has registered which key, as Consul's HTTP API does. It is for
// tests of a process that needs no more of Consul.
type Directory struct {
	Address string

	mu    sync.Mutex
	peers Peers
}

// StartDirectory runs a directory until the test ends.
func StartDirectory(t testing.TB) *Directory {
	t.Helper()
	d := &Directory{peers: Peers{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health/service/{service}", func(rw http.ResponseWriter, r *http.Request) {
		type object = map[string]any
		list := []object{}
		d.mu.Lock()
		peers := maps.Clone(d.peers)
		d.mu.Unlock()
		for key, peer := range peers {
			if peer.Service == path.Base(r.URL.Path) {
				list = append(list, object{"Node": object{"Node": peer.Node}, "Service": object{"Meta": object{"key": key}}})
			}
		}
		json.NewEncoder(rw).Encode(list)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	d.Address = server.Listener.Addr().String()
	return d
}

// Register makes the key of a process, and puts it into the directory.
func (d *Directory) Register(t testing.TB, service, node string) *identity.Identity {
	t.Helper()
	i := Identity(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers[i.Key()] = identity.Peer{Service: service, Node: node}
	return i
}
