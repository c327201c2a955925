// Package configure prepares a node for its agents: it gets the node's secrets, reads the
// public address from the cloud's metadata, and writes the agents' configuration. It runs
// at each boot before the agents, and daily, so that certificates are renewed in time. It
// changes only what differs.
//
//	changed, err := configure.Run(ctx, configure.Config{
//		Root: "/", Secrets: "/etc/nearcast/secrets", Scratch: "/run", Stores: stores, Meta: imds, Log: log,
//	}, values)
//
// # Secrets in AWS
//
// A site has three secrets, which Terraform makes empty:
//
//	servers   the cluster's secrets, as secrets.Pack writes them; only servers read it
//	edge      the folder of the site's edge nodes
//	nodes     the folder of the site's stream nodes
//
// A server of the primary site makes the cluster's secrets; if several start together, one
// of them wins. Servers of another site copy the secret "servers" from the primary site.
// Servers make the other two secrets, and renew them. Edge and stream nodes wait until
// their secret has a value.
package configure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/secrets"
)

// Store keeps the secrets of one region.
type Store interface {
	Secret(ctx context.Context, name string) (string, error)
	PutFirstSecret(ctx context.Context, name, value string) error
	PutSecret(ctx context.Context, name, value, token string) error
}

// Metadata is the cloud's metadata service.
type Metadata interface {
	Get(ctx context.Context, path string) (string, error)
}

// Config says where Run reads and writes.
type Config struct {
	Root    string // "/", or a folder in its place
	Secrets string // the node's folder of secrets, below Root
	Scratch string // a folder in memory: a server works there with the authority's key for a moment
	Stores  func(region string) Store
	Meta    Metadata
	// Retry is the time between attempts to read a secret without a value, and the first
	// pause after a call that failed. Default: 5 s.
	Retry time.Duration
	Log   *slog.Logger
}

// Run configures the node and returns the paths of the files it changed.
func Run(ctx context.Context, c Config, v provision.Values) ([]string, error) {
	if c.Retry == 0 {
		c.Retry = 5 * time.Second
	}
	again := patience{first: c.Retry, log: c.Log}
	if stores := c.Stores; stores != nil {
		c.Stores = func(region string) Store { return patientStore{stores(region), again} }
	}
	v = v.WithDefaults()
	if err := v.Validate(); err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	if v.Role == provision.Stream && v.Stream.LocalCache {
		var err error
		if v.Stream.CacheSize, err = limitCache(v.Stream.CacheSize, filepath.Join(c.Root, v.Paths.Cache)); err != nil {
			return nil, fmt.Errorf("configure: %w", err)
		}
	}
	if v.Role == provision.Stream {
		var err error
		if v.Paths.Alloc, err = allocDir(v.Paths, "/proc/self/mountinfo"); err != nil {
			return nil, fmt.Errorf("configure: %w", err)
		}
	}
	folder := filepath.Join(c.Root, c.Secrets)
	if v.Cloud.SecretNodes+v.Cloud.SecretEdge+v.Cloud.SecretServers != "" {
		scratch, err := os.MkdirTemp(c.Scratch, "nearcast-secrets-")
		if err != nil {
			return nil, fmt.Errorf("configure: %w", err)
		}
		defer os.RemoveAll(scratch)
		if folder, err = c.fetch(ctx, v, scratch); err != nil {
			return nil, fmt.Errorf("get secrets: %w", err)
		}
	}
	if v.Role == provision.Stream && v.Stream.PublicIP == provision.PublicIPFromIMDS {
		err := again.until(ctx, "get the public address", func() (err error) {
			v.Stream.PublicIP, err = c.Meta.Get(ctx, "public-ipv4")
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("get the public address: %w", err)
		}
	}
	files, err := secretFiles(folder, c.Secrets, v.ConsulGroup)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	loaded, err := provision.LoadSecrets(folder, v.Role)
	if err != nil {
		return nil, err
	}
	// The agents read them in their final folder, not where this process read them.
	loaded.Dir, loaded.TicketKeys = c.Secrets, filepath.Join(c.Secrets, filepath.Base(loaded.TicketKeys))
	rendered, err := provision.Render(v, loaded)
	if err != nil {
		return nil, err
	}
	return provision.Apply(c.Root, append(files, rendered...), provision.Managed(v.Paths))
}

// consulReads are the secrets that Consul opens as its own Unix user.
var consulReads = []string{provision.CAFile, provision.CertFile, provision.KeyFile}

// secretFiles returns the files of a folder of secrets, with their paths in dir.
func secretFiles(folder, dir, group string) ([]provision.File, error) {
	found, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []provision.File
	for _, d := range found {
		if d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, d.Name()))
		if err != nil {
			return nil, err
		}
		f := provision.File{Path: filepath.Join(dir, d.Name()), Mode: 0o600, Text: text}
		if slices.Contains(consulReads, d.Name()) {
			f.Mode, f.Group = 0o640, group
		}
		files = append(files, f)
	}
	return files, nil
}

// fetch returns a folder below scratch with the node's secrets.
func (c Config) fetch(ctx context.Context, v provision.Values, scratch string) (string, error) {
	store := c.Stores(v.Site)
	switch v.Role {
	case provision.Server:
		return c.serve(ctx, v, store, scratch)
	case provision.Edge:
		return scratch, c.await(ctx, store, v.Cloud.SecretEdge, scratch)
	default:
		return scratch, c.await(ctx, store, v.Cloud.SecretNodes, scratch)
	}
}

// await waits until a secret has a value, and unpacks it.
func (c Config) await(ctx context.Context, store Store, name, into string) error {
	tick := time.NewTicker(c.Retry)
	defer tick.Stop()
	for logged := false; ; {
		packed, err := store.Secret(ctx, name)
		if err == nil {
			return secrets.Unpack(into, packed)
		}
		if !errors.Is(err, awsapi.ErrNoSecret) {
			return err
		}
		if !logged {
			c.Log.Info("waiting until a server makes the secret", "secret", name)
			logged = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// serve does a server's part: it makes or reads the cluster's secrets, makes and renews
// those of the site's nodes, and returns the folder of its own.
func (c Config) serve(ctx context.Context, v provision.Values, store Store, scratch string) (string, error) {
	all := filepath.Join(scratch, "all")
	if err := c.cluster(ctx, v, store, scratch, all); err != nil {
		return "", err
	}
	nodes := map[string]string{v.Cloud.SecretEdge: string(provision.Edge), v.Cloud.SecretNodes: string(provision.Stream)}
	before := map[string]string{}
	for name, role := range nodes {
		packed, err := store.Secret(ctx, name)
		if errors.Is(err, awsapi.ErrNoSecret) {
			continue
		}
		if err == nil {
			err = secrets.Unpack(filepath.Join(all, v.Site, role), packed)
		}
		if err != nil {
			return "", err
		}
		before[name] = packed
	}
	// Its own secrets from the last boot: Make keeps a certificate that is still good.
	own := filepath.Join(all, v.Site, string(provision.Server))
	if packed, err := secrets.Pack(filepath.Join(c.Root, c.Secrets)); err == nil && packed != "{}" {
		if err := secrets.Unpack(own, packed); err != nil {
			return "", err
		}
	}
	if _, err := secrets.Make(secrets.Config{Dir: all, Sites: []string{v.Site}}); err != nil {
		return "", err
	}
	for name, role := range nodes {
		packed, err := secrets.Pack(filepath.Join(all, v.Site, role))
		switch old, found := before[name]; {
		case err != nil:
		case !found:
			err = store.PutFirstSecret(ctx, name, packed)
		case old != packed:
			c.Log.Info("renewed secrets", "secret", name)
			err = store.PutSecret(ctx, name, packed, uuid.NewString())
		}
		if err != nil {
			return "", err
		}
	}
	return own, nil
}

// cluster writes the cluster's secrets to the folder all.
func (c Config) cluster(ctx context.Context, v provision.Values, store Store, scratch, all string) error {
	packed, err := store.Secret(ctx, v.Cloud.SecretServers)
	if err == nil {
		return secrets.Unpack(all, packed)
	}
	if !errors.Is(err, awsapi.ErrNoSecret) {
		return err
	}
	first := filepath.Join(scratch, "first")
	if v.Site == v.Primary {
		c.Log.Info("making the cluster's secrets")
		_, err = secrets.Make(secrets.Config{Dir: first, Sites: []string{v.Site}})
	} else {
		err = c.await(ctx, c.Stores(v.Primary), v.Cloud.SecretServers, first)
	}
	if err != nil {
		return err
	}
	if packed, err = secrets.Pack(first, v.Site); err != nil {
		return err
	}
	if err := store.PutFirstSecret(ctx, v.Cloud.SecretServers, packed); err != nil {
		return err
	}
	// Another server may have been first; the stored value counts.
	return c.await(ctx, store, v.Cloud.SecretServers, all)
}
