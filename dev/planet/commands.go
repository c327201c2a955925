package planet

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

	"github.com/nearcast/nearcast/dev"
)

// commandSocket is the Unix socket on which a running planet takes commands. It
// speaks HTTP; only the user that runs the planet may connect.
//
//	GET  /                  the table of round trips
//	POST /locate?place=     move the person
//	POST /cut?a=&b=         cut a off from b, or from all others
//	POST /heal?a=&b=        undo it; without b all cuts of a, without a all cuts
//
// Each answers with the table as text.
func commandSocket(dir string) string { return filepath.Join(dev.RunDir(dir), "commands.sock") }

// serveCommands serves the command socket until it is closed.
func (p *Planet) serveCommands() error {
	l, err := net.Listen("unix", commandSocket(p.Dir))
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
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
	p.stopCommands = func() {
		server.Close()
		<-done
	}
	return nil
}

// Send sends a command to the planet that runs in dir: "locate", "cut" or "heal", or ""
// for the table alone. It returns the table after the command.
func Send(ctx context.Context, dir, command string, arguments url.Values) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", commandSocket(dir))
		},
	}}
	method := http.MethodPost
	if command == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://planet/"+command+"?"+arguments.Encode(), nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("no planet is running in %s; start one with: make up SITES=%s", dir, strings.Join(Regions()[:2], ","))
	}
	if err != nil {
		return "", fmt.Errorf("send a command to the planet: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("send a command to the planet: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
