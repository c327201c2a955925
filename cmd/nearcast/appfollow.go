package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/nearcast/nearcast/brain/nomad"
)

// followApps has nodes fetch each version that is registered, until ctx ends.
func followApps(ctx context.Context, log *slog.Logger, checks nomad.Checks, every, wait time.Duration) error {
	follower := nomad.NewFollower(checks)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for quiet := true; ; {
		due, err := follower.Due(ctx)
		if err != nil && quiet && ctx.Err() == nil {
			log.Warn("cannot look for new versions; trying again", "error", err)
		}
		quiet = err == nil
		for _, d := range due {
			if fetchVersion(ctx, log, checks, d, wait) {
				follower.Done(d)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fetchVersion has the nodes fetch one version, a turn after the other. It reports whether nothing of it is left
// to do.
func fetchVersion(ctx context.Context, log *slog.Logger, checks nomad.Checks, d nomad.Due, wait time.Duration) bool {
	log = log.With("app", d.App, "version", d.Version)
	for wave := d.Wave; wave < nomad.Waves; wave++ {
		p, err := checks.PrefetchWave(ctx, d.App, wave)
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("cannot have nodes fetch the content; trying again", "error", err)
			}
			return false
		}
		if p.Version != d.Version {
			return false // a later one was registered
		}
		within, cancel := context.WithTimeout(ctx, wait)
		nodes, err := awaitFetches(within, io.Discard, func(ctx context.Context) ([]nomad.NodeFetch, int, bool, error) { return checks.Fetches(ctx, p) }, askEvery, p.Job)
		cancel()
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil && !errors.Is(err, errNoNode):
			log.Warn("not all nodes have the content; their first seat fetches it", "turn", wave+1, "error", err)
		case err == nil:
			log.Info("nodes have the content", "turn", wave+1, "nodes", len(nodes))
		}
	}
	return true
}
