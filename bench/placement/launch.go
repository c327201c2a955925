package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/placement/probe"
)

const (
	launchSites = 200
	launchConns = 16 // browsers at once, each with a connection kept open
	launchApp   = "viewer"
)

// fixed is a world in which nothing changes.
type fixed router.Snapshot

func (f fixed) Snapshot() router.Snapshot { return router.Snapshot(f) }

// takeLaunches measures POST /v1/sessions over loopback against a whole router:
// placement among 200 sites, the ticket signed, the answer with every candidate
// in it. The load is made by this same process, and shares its cores.
func (b *bench) takeLaunches(ctx context.Context) (err error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	w := plane(launchSites)
	signer := ticket.NewSigner(key, w.names[0])
	r, err := router.New(router.Config{
		Site: w.names[0], URL: "http://router.example", View: launchWorld(w), Signer: signer,
		Verifier: ticket.NewVerifier(signer.Public()), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer r.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serve, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- r.Serve(serve, listener, nil) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()

	for _, measured := range []int{0, probe.Most, wire.MaxRace, launchSites} {
		say("launches_per_s, %d measured", measured)
		request, err := launchRequest(w, measured)
		if err != nil {
			return err
		}
		before := processor()
		took, rates, err := b.load(ctx, listener.Addr().String(), request)
		if err != nil {
			return err
		}
		// The warm-up, a sixth of the time, has been measured and not counted.
		used := (processor() - before) * 5 / 6
		l := labels("sites", launchSites, "measured", measured, "connections", launchConns)
		if err := b.report.rates("launches_per_s", "/s", rates, l); err != nil {
			return err
		}
		if err := b.report.line("launch_time", "ms", took, l); err != nil {
			return err
		}
		if err := b.report.value("processor_per_launch", "µs", float64(used.Microseconds())/float64(len(took)), l); err != nil {
			return err
		}
	}
	return nil
}

// launchWorld is 200 sites that can all run the app, some with more idle seats.
func launchWorld(w plain) fixed {
	out := fixed{Ready: true}
	for i, name := range w.names {
		s := router.Site{
			Name:    name,
			Brains:  []wire.Instance{{ID: "brain-" + name, Site: name, URL: "wss://brain." + name + ".example", Healthy: true}},
			Routers: []wire.Instance{{ID: "router-" + name, Site: name, URL: "https://router." + name + ".example", Healthy: true}},
			Apps: map[string]wire.App{launchApp: {
				ID: launchApp, Version: 3, Title: "Viewer", Access: wire.AccessPublic,
				Capacity: wire.Capacity{Idle: i % 4, Busy: i % 8, Max: 20, ColdStartMS: 4000, SessionMS: 300_000},
			}},
			Distances: map[string]wire.Distance{},
		}
		for j, other := range w.names {
			if i != j {
				ms, off := w.between(i, j)
				s.Distances[other] = wire.Distance{RTTMS: ms, ErrorMS: off}
			}
		}
		out.Sites = append(out.Sites, s)
	}
	return out
}

// launchRequest is that of a browser that has measured so many sites.
func launchRequest(w plain, measured int) ([]byte, error) {
	ask := wire.LaunchRequest{App: launchApp, RTTMS: map[string]float64{}}
	for i := range measured {
		ask.RTTMS[w.names[i]] = round(w.from(i))
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "POST /v1/sessions HTTP/1.1\r\nHost: router.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return out.Bytes(), nil
}

// load sends the request over and over on every connection. It gives how long
// each took in ms, and the rate in each fiftieth of the span.
func (b *bench) load(ctx context.Context, address string, request []byte) (took, rates []float64, err error) {
	const windows = 50
	type answer struct{ at, took time.Duration }
	var (
		mu      sync.Mutex
		answers []answer
		failed  error
		wg      sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	warm := b.span / 5
	start := time.Now()
	for range launchConns {
		wg.Go(func() {
			var mine []answer
			err := browse(ctx, address, request, func(took time.Duration) bool {
				at := time.Since(start) - warm
				if at >= 0 {
					mine = append(mine, answer{at, took})
				}
				return at < b.span
			})
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, mine...)
			if err != nil && failed == nil {
				failed = err
				cancel()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, nil, failed
	}
	counts := make([]int, windows)
	for _, a := range answers {
		took = append(took, float64(a.took)/float64(time.Millisecond))
		if at := int(a.at * windows / b.span); at < windows {
			counts[at]++
		}
	}
	for _, n := range counts {
		rates = append(rates, float64(n)*windows/b.span.Seconds())
	}
	return took, rates, nil
}

// browse sends the request on one connection until done says no more.
func browse(ctx context.Context, address string, request []byte, done func(took time.Duration) (more bool)) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	release := context.AfterFunc(ctx, func() { conn.Close() })
	defer release()
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("launch: %w", err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("launch: %w", err)
		}
		if res.StatusCode != http.StatusCreated {
			text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
			return fmt.Errorf("launch: the router answers %s: %s", res.Status, text)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return fmt.Errorf("launch: %w", err)
		}
		if !done(time.Since(sent)) {
			return nil
		}
	}
}
