package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
)

// keys makes the ticket keys unless they are there.
func (c *Cluster) keys() error {
	if err := ticket.GenerateKeys(filepath.Join(c.Dir, "keys")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (c *Cluster) router() service {
	return service{
		name: "router",
		argv: []string{filepath.Join(c.bin, "nearcast"), "router",
			"--site", Site, "--listen", local(c.Ports.Router), "--url", c.URL,
			"--consul", c.ConsulAddress, "--ticket-key", filepath.Join(c.Dir, "keys", ticket.PrivateKeyFile)},
		env: c.environ(), log: c.LogFile("router"), grace: 5 * time.Second,
		ready: func(ctx context.Context) error {
			_, err := httpGet(ctx, c.URL+"/healthz")
			return err
		},
	}
}

func (c *Cluster) brain() service {
	return service{
		name: "brain",
		argv: []string{filepath.Join(c.bin, "nearcast"), "brain",
			"--site", Site, "--listen", local(c.Ports.Brain), "--url", c.BrainURL,
			"--consul", c.ConsulAddress, "--nomad", c.NomadAddress,
			"--ticket-keys", filepath.Join(c.Dir, "keys", ticket.PublicKeysFile)},
		env: c.environ(), log: c.LogFile("brain"),
		grace: 15 * time.Second, // it gives people time to let go
		ready: func(ctx context.Context) error {
			_, err := httpGet(ctx, "http://"+local(c.Ports.Brain)+"/healthz")
			return err
		},
	}
}

// probes is without keep-alive, so that it leaves no connection behind.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func httpGet(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := probes.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s says %s", url, res.Status)
	}
	return body, nil
}
