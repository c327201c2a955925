package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// siteTimeout is how long a site may take to answer an operator's command.
const siteTimeout = 5 * time.Second

// keySites are all sites, as the local Consul agent reaches them.
type keySites struct {
	fleet *fleet.Fleet
	names []string // sorted
}

// listedKey is a key with the sites that have it.
type listedKey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Apps    []string  `json:"apps"` // none: every app
	Created time.Time `json:"created"`
	Sites   []string  `json:"sites"`
	Missing []string  `json:"missing"` // sites that answered and do not have it
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

// put registers a key everywhere. A key that some site has already stays as old as it
// is there.
func (s *keySites) put(ctx context.Context, key wire.LaunchKey) (done []string, err error) {
	known, _ := s.list(ctx) // a site that fails here fails again below
	for _, k := range known {
		if k.ID == key.ID {
			key.Created = k.Created
		}
	}
	return s.each(ctx, func(ctx context.Context, _ string, at *fleet.Fleet) error { return at.PutLaunchKey(ctx, key) })
}

func (s *keySites) revoke(ctx context.Context, id string) (done []string, err error) {
	return s.each(ctx, func(ctx context.Context, _ string, at *fleet.Fleet) error { return at.DeleteLaunchKey(ctx, id) })
}

// list gives all keys, the oldest first. err names the sites that did not answer.
func (s *keySites) list(ctx context.Context) (keys []listedKey, err error) {
	var mu sync.Mutex
	bySite := map[string]map[string]wire.LaunchKey{}
	done, err := s.each(ctx, func(ctx context.Context, site string, at *fleet.Fleet) error {
		keys, err := at.LaunchKeys(ctx)
		mu.Lock()
		defer mu.Unlock()
		bySite[site] = keys
		return err
	})
	found := map[string]*listedKey{}
	for _, site := range done {
		for id, k := range bySite[site] {
			if found[id] == nil {
				found[id] = &listedKey{ID: id, Name: k.Name, Apps: k.Apps, Created: k.Created, Sites: []string{}, Missing: []string{}}
			}
		}
	}
	for id, k := range found {
		for _, site := range done {
			if _, ok := bySite[site][id]; ok {
				k.Sites = append(k.Sites, site)
			} else {
				k.Missing = append(k.Missing, site)
			}
		}
		if k.Apps == nil {
			k.Apps = []string{}
		}
		keys = append(keys, *k)
	}
	slices.SortFunc(keys, func(a, b listedKey) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	if keys == nil {
		keys = []listedKey{} // "[]" in JSON
	}
	return keys, err
}
