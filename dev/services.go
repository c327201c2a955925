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
	if err := ticket.GenerateKeys(c.at.keys); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (c *Cluster) router() service {
	argv := []string{filepath.Join(c.bin, "nearcast"), "router",
		"--site", c.Site, "--listen", c.address(c.Ports.Router), "--url", c.URL,
		"--consul", c.ConsulAddress, "--ticket-key", filepath.Join(c.at.keys, ticket.PrivateKeyFile)}
	if c.at.ns != nil { // all sites have this machine's name and the same ports
		argv = append(argv, "--name", c.Site+"-router")
	}
	return service{
		name: "router", argv: argv,
		env: c.environ(), log: c.LogFile("router"), grace: 5 * time.Second,
		ready: func(ctx context.Context) error {
			_, err := c.get(ctx, c.URL+"/healthz")
			return err
		},
	}
}

func (c *Cluster) brain() service {
	argv := []string{filepath.Join(c.bin, "nearcast"), "brain",
		"--site", c.Site, "--listen", c.address(c.Ports.Brain), "--url", c.BrainURL,
		"--consul", c.ConsulAddress, "--nomad", c.NomadAddress,
		"--ticket-keys", filepath.Join(c.at.keys, ticket.PublicKeysFile)}
	if c.at.ns != nil {
		argv = append(argv, "--name", c.Site+"-brain", "--residency", awsRegions[regionIndex(c.Site)].residency)
	}
	return service{
		name: "brain", argv: argv,
		env: c.environ(), log: c.LogFile("brain"),
		grace: 15 * time.Second, // it gives people time to let go
		ready: func(ctx context.Context) error {
			_, err := c.get(ctx, "http://"+c.address(c.Ports.Brain)+"/healthz")
			return err
		},
	}
}

// probes is without keep-alive, so that it leaves no connection behind.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get asks one of the site's servers.
func (c *Cluster) get(ctx context.Context, url string) ([]byte, error) {
	return getBy(ctx, c.http, url)
}

func httpGet(ctx context.Context, url string) ([]byte, error) { return getBy(ctx, probes, url) }

func getBy(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
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
