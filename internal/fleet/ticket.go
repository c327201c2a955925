package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// UseTicket marks a session's ticket as used at this site and reports whether
// this call did it: of any number of callers, at any number of brains, exactly
// one gets true. After an error the outcome is unknown: call again with the same
// used.Mark, and it is the same call as before.
func (f *Fleet) UseTicket(ctx context.Context, session string, used wire.UsedTicket) (bool, error) {
	if session == "" {
		return false, errors.New("use ticket: no session")
	}
	value, err := json.Marshal(used)
	if err != nil {
		return false, fmt.Errorf("encode ticket use: %w", err)
	}
	// ModifyIndex 0 means: only if the key does not exist.
	first, _, err := f.consul.KV().CAS(&api.KVPair{Key: wire.TicketsPrefix + session, Value: value}, f.write(ctx))
	if err != nil {
		return false, fmt.Errorf("use ticket: %w", err)
	}
	if first || used.Mark == "" {
		return first, nil
	}
	opts := f.query(ctx)
	opts.RequireConsistent = true
	pair, _, err := f.consul.KV().Get(wire.TicketsPrefix+session, opts)
	if err != nil {
		return false, fmt.Errorf("read ticket use: %w", err)
	}
	var was wire.UsedTicket
	return pair != nil && json.Unmarshal(pair.Value, &was) == nil && was.Mark == used.Mark, nil
}

// Leader returns an error unless the site's Consul servers have a leader, without
// which nothing can be written.
func (f *Fleet) Leader(ctx context.Context) error {
	leader, err := f.consul.Status().LeaderWithQueryOptions(f.query(ctx))
	if err == nil && leader == "" {
		err = errors.New("there is none")
	}
	if err != nil {
		return fmt.Errorf("ask for consul's leader: %w", err)
	}
	return nil
}

// sweepAtOnce is how many marks one write removes: Consul takes 64 operations in a
// transaction.
const sweepAtOnce = 64

// SweepTickets removes the marks of expired tickets, and returns how many.
func (f *Fleet) SweepTickets(ctx context.Context) (int, error) {
	pairs, _, err := f.consul.KV().List(wire.TicketsPrefix, f.query(ctx))
	if err != nil {
		return 0, fmt.Errorf("list used tickets: %w", err)
	}
	pairs = slices.DeleteFunc(pairs, func(pair *api.KVPair) bool {
		var used wire.UsedTicket
		// A mark that cannot be read is removed too.
		return json.Unmarshal(pair.Value, &used) == nil && time.Now().Before(used.Expires)
	})
	swept := 0
	for some := range slices.Chunk(pairs, sweepAtOnce) {
		ops := make(api.TxnOps, 0, len(some))
		for _, pair := range some {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: pair.Key}})
		}
		done, resp, _, err := f.consul.Txn().Txn(ops, f.query(ctx))
		if err == nil && !done {
			err = fmt.Errorf("%d of %d were refused", len(resp.Errors), len(some))
		}
		if err != nil {
			return swept, fmt.Errorf("sweep tickets: %w", err)
		}
		swept += len(some)
	}
	return swept, nil
}
