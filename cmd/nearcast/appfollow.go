package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/nearcast/nearcast/brain/nomad"
)

// followApps has nodes fetch each version that is registered, until ctx ends.
func followApps(ctx context.Context, log *slog.Logger, checks nomad.Checks, every, wait time.Duration) error {
	follower := nomad.NewFollower(checks, wait, log)
	for said := ""; ; {
		more, err := follower.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.Warn("cannot look for new versions; trying again", "error", err)
		}
		next := every
		if more {
			next = min(every, askEvery)
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
