package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/internal/testkit"
)

// A call to Nomad that fails does not end the wait, and what was seen before stays.
func TestAwaitFetchesAsksAgain(t *testing.T) {
	running := []nomad.NodeFetch{{Node: "a", Status: "complete"}, {Node: "b", Status: "running"}}
	done := []nomad.NodeFetch{{Node: "a", Status: "complete"}, {Node: "b", Status: "complete"}}
	calls := 0
	ask := func(context.Context) ([]nomad.NodeFetch, int, bool, error) {
		calls++
		switch calls {
		case 1, 4:
			return nil, 0, false, errors.New("no leader")
		case 2, 3:
			return running, 0, true, nil
		}
		return done, 0, true, nil
	}
	var out strings.Builder
	nodes, err := awaitFetches(t.Context(), &out, ask, time.Microsecond, "viewer-prefetch")
	if err != nil || len(nodes) != 2 || calls != 5 || strings.Count(out.String(), "no leader; asking again") != 2 {
		t.Errorf("%v, %v after %d calls\n%s", nodes, err, calls, out.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	calls = 0
	nodes, err = awaitFetches(ctx, &out, func(context.Context) ([]nomad.NodeFetch, int, bool, error) {
		if calls++; calls == 1 {
			return running, 0, true, nil
		}
		cancel()
		return nil, 0, false, ctx.Err()
	}, time.Microsecond, "viewer-prefetch")
	if len(nodes) != 2 || err == nil || !strings.Contains(err.Error(), "1 of 2 nodes still fetch") {
		t.Errorf("%v, %v", nodes, err)
	}
	// What Nomad does not plan is not asked for again.
	calls = 0
	_, err = awaitFetches(t.Context(), &out, func(context.Context) ([]nomad.NodeFetch, int, bool, error) {
		calls++
		return nil, 0, false, fmt.Errorf("%w: viewer-prefetch", nomad.ErrNotPlanned)
	}, time.Microsecond, "viewer-prefetch")
	if !errors.Is(err, nomad.ErrNotPlanned) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	// JSON has a list in any case.
	nodes, err = awaitFetches(ctx, &out, func(context.Context) ([]nomad.NodeFetch, int, bool, error) {
		return nil, 0, false, ctx.Err()
	}, time.Microsecond, "viewer-prefetch")
	var text strings.Builder
	testkit.Must(t, printJSON(&text, nodes))
	if strings.TrimSpace(text.String()) != "[]" || err == nil || strings.Contains(err.Error(), "0 of 0") {
		t.Errorf("%s, %v", text.String(), err)
	}
}

// A follower that would never rest, or begin all turns at once, is refused.
func TestFollowWithoutPause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, flag := range []string{"--every=0", "--every=-1s", "--wait=0", "--wait=-1s"} {
		cmd := appPrefetch(&appFlags{nomad: "http://127.0.0.1:1"})
		cmd.SetArgs([]string{"--follow", flag})
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := cmd.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), "must be more than 0") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
