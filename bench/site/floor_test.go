package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/identity"
)

// BenchmarkSockets measures what the sockets of a claim take by themselves, both ends together:
// a person's WebSocket to a brain, and the brain's to a seat by mutual TLS, each with a message
// each way. It is less than any claim can take on a machine. Nothing of Nearcast runs but the
// configuration of TLS.
//
//	go test -run '^$' -bench Sockets -benchtime 2000x ./bench/site
func BenchmarkSockets(b *testing.B) {
	me, err := identity.New()
	if err != nil {
		b.Fatal(err)
	}
	echo := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		if kind, text, err := ws.Read(r.Context()); err == nil {
			_ = ws.Write(r.Context(), kind, text)
		}
		_, _, _ = ws.Read(r.Context()) // its end
	})
	b.Run("person", func(b *testing.B) {
		server := httptest.NewServer(echo)
		defer server.Close()
		sockets(b, server.URL, func() *http.Transport { return &http.Transport{DisableKeepAlives: true} })
	})
	b.Run("seat", func(b *testing.B) {
		server := httptest.NewUnstartedServer(echo)
		server.TLS = me.Server(anybody{}, "brain")
		server.StartTLS()
		defer server.Close()
		sockets(b, server.URL, func() *http.Transport {
			return &http.Transport{DisableKeepAlives: true, TLSClientConfig: me.Client(me.Key())}
		})
	})
}

// anybody has registered every key.
type anybody struct{}

func (anybody) Peer(context.Context, string) (identity.Peer, error) {
	return identity.Peer{Service: "brain"}, nil
}

// sockets opens b.N sockets, 16 at a time, and reports the CPU of each.
func sockets(b *testing.B, url string, transport func() *http.Transport) {
	text := make([]byte, 2000) // an offer
	next := make(chan struct{})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range next {
				t := transport()
				t.DialContext = (&net.Dialer{}).DialContext
				ws, _, err := websocket.Dial(b.Context(), url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: t}})
				if err != nil {
					b.Error(err)
					continue
				}
				if err := ws.Write(b.Context(), websocket.MessageText, text); err != nil {
					b.Error(err)
				}
				if _, _, err := ws.Read(b.Context()); err != nil {
					b.Error(err)
				}
				ws.CloseNow()
			}
		})
	}
	before := ownCPU()
	for range b.N {
		next <- struct{}{}
	}
	close(next)
	all.Wait()
	b.ReportMetric((ownCPU()-before)*1000/float64(b.N), "cpu-ms/op")
}
