package dev

import (
	"log/slog"
	"net/http"
	"path/filepath"
)

// Location says which site a cluster is, and where it runs.
type Location struct {
	Site string
	// Address is the IP address that everything listens on.
	Address string
	// Keys is the folder of the routers' ticket keys.
	Keys string
	// Log gets what happens; nil is a log for Options.Log.
	Log *slog.Logger

	// Network is where everything runs; nil is the network of this process. What
	// follows is for a site with a network of its own.
	Network Network
	// Interface is the network interface that has Address.
	Interface string
	// Peers are the addresses of the other sites.
	Peers []string
	// Residency is the jurisdictions that the site is in: "eu,ie".
	Residency string
	// NodePrefix goes before the command line of the Nomad client: a command that
	// runs its arguments where seats are to be.
	NodePrefix []string
}

// Network is a network in which processes and connections can be started.
type Network interface {
	// Path is the file of the network namespace.
	Path() string
	// Do runs f. Processes and sockets that f makes are in the network.
	Do(f func() error) error
	// Transport makes HTTP connections from inside the network.
	Transport() *http.Transport
}

// alone is the location of a site without a planet.
func alone(dir string) Location {
	return Location{Site: Site, Address: "127.0.0.1", Keys: filepath.Join(dir, "keys")}
}

// do runs f in the location's network.
func (l Location) do(f func() error) error {
	if l.Network == nil {
		return f()
	}
	return l.Network.Do(f)
}

// client makes HTTP requests from the location's network.
func (l Location) client() *http.Client {
	if l.Network == nil {
		return plainClient
	}
	return &http.Client{Transport: l.Network.Transport()}
}
