package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
)

// siteTimeout is how long a site may take to answer an operator's command.
const siteTimeout = 5 * time.Second

// keySites are all sites, as the local Consul agent reaches them.
type keySites struct {
	fleet *fleet.Fleet
	names []string // sorted
}

func openSites(ctx context.Context, cfg fleet.Config) (*keySites, error) {
	cfg.Log = quiet
	f, err := fleet.Open(cfg)
	if err != nil {
		return nil, fmt.Errorf("--consul: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	names, err := f.Sites(ctx)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("ask the Consul agent at %s (--consul): %w", cfg.Address, err)
	}
	slices.Sort(names)
	return &keySites{fleet: f, names: names}, nil
}

func (s *keySites) close() { s.fleet.Close() }

// each calls do for all sites at once. done are those where it succeeded; err names
// each of the others.
func (s *keySites) each(ctx context.Context, do func(ctx context.Context, site string, at *fleet.Fleet) error) (done []string, err error) {
	failed := make([]error, len(s.names))
	var all sync.WaitGroup
	for i, name := range s.names {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, siteTimeout)
			defer cancel()
			if err := do(ctx, name, s.fleet.At(name)); err != nil {
				failed[i] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	all.Wait()
	for i, name := range s.names {
		if failed[i] == nil {
			done = append(done, name)
		}
	}
	return done, errors.Join(failed...)
}
