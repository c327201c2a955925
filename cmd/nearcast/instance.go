package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
)

// askSite asks the local Consul agent for its datacenter until it answers.
func askSite(ctx context.Context, consul *fleet.Fleet, log *slog.Logger) (string, error) {
	for warned := false; ; {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		site, err := consul.Site(ask)
		cancel()
		if err == nil {
			return site, nil
		}
		if !warned && ctx.Err() == nil {
			log.Warn("waiting for consul to name the site; --site makes this unnecessary", "error", err)
			warned = true
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return "", ctx.Err()
		case <-t.C:
		}
	}
}

// instanceAddress is the address of a service for Consul, given the one that it
// listens on and its --url. A listener on all addresses has an empty host, which
// stands for the agent's own address; browsers need a --url then.
func instanceAddress(bound *net.TCPAddr, url string) (string, error) {
	host := bound.IP.String()
	if bound.IP.IsUnspecified() {
		if url == "" {
			return "", errors.New("--url is needed: --listen names all addresses of this node, which no browser can use")
		}
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(bound.Port)), nil
}

// instanceName is --name, or <hostname>-<port>.
func instanceName(name string, bound *net.TCPAddr) (string, error) {
	if name != "" {
		return name, nil
	}
	hostname, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("--name is needed: %w", err)
	}
	return hostname + "-" + strconv.Itoa(bound.Port), nil
}

// internalAddress is the address of an internal listener for Consul. Its host is
// empty where it listens on all addresses: then it is the agent's own.
func internalAddress(l net.Listener) string {
	bound := l.Addr().(*net.TCPAddr)
	host := bound.IP.String()
	if bound.IP.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(bound.Port))
}
