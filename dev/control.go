package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// controlSocket is where a running planet takes requests: HTTP, in a folder
// that is its user's alone.
//
//	GET  /                  the table of round trips
//	POST /locate?place=     move the person
//	POST /cut?a=&b=         cut a from b, or from everybody
//	POST /heal?a=&b=        undo it; without a, everywhere
//
// Each answers with the table as text.
func controlSocket(dir string) string { return filepath.Join(runDir(dir), "control.sock") }

// serveControl serves the control socket until it is closed.
func (p *Planet) serveControl() error {
	if err := makePrivate(runDir(p.Dir)); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	l, err := net.Listen("unix", controlSocket(p.Dir))
	if err != nil {
		return fmt.Errorf("listen for control: %w", err)
	}
	mux := http.NewServeMux()
	handle := func(pattern string, do func(url.Values) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
			fmt.Fprint(w, p.Table())
		})
	}
	handle("GET /{$}", func(url.Values) error { return nil })
	handle("POST /locate", func(q url.Values) error { return p.Locate(q.Get("place")) })
	handle("POST /cut", func(q url.Values) error { return p.Cut(q.Get("a"), q.Get("b")) })
	handle("POST /heal", func(q url.Values) error { return p.Heal(q.Get("a"), q.Get("b")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until Close
	}()
	p.control = closer(func() error {
		err := server.Close()
		<-done
		return err
	})
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Control sends a request to the planet that runs in dir: "" for its table,
// "locate", "cut" or "heal". It returns the table as it is then.
func Control(ctx context.Context, dir, request string, arguments url.Values) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", controlSocket(dir))
		},
	}}
	method := http.MethodPost
	if request == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://planet/"+request+"?"+arguments.Encode(), nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("no planet is running in %s; start one with: make up SITES=%s", dir, strings.Join(Regions()[:2], ","))
	}
	if err != nil {
		return "", fmt.Errorf("ask the planet: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("ask the planet: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
