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

// UseTicket writes for which seat a session's ticket is used at this site, over the record
// with index at; 0 is none. Of any number of callers with one index, at any number of brains,
// exactly one writes. It returns the record as it is now, with its index, and whether this
// call has written it. After an error the outcome is unknown.
func (f *Fleet) UseTicket(ctx context.Context, session string, used wire.UsedTicket, at uint64) (now wire.UsedTicket, index uint64, written bool, err error) {
	if session == "" {
		return now, 0, false, errors.New("use ticket: no session")
	}
	value, err := json.Marshal(used)
	if err != nil {
		return now, 0, false, fmt.Errorf("encode ticket use: %w", err)
	}
	key := wire.TicketsPrefix + session
	got := f.tickets.write(ctx, key, value, at)
	switch {
	case got.err != nil:
		return now, 0, false, fmt.Errorf("use ticket: %w", got.err)
	case !got.refused:
		return used, got.index, true, nil
	}
	opts := f.query(ctx)
	opts.RequireConsistent = true
	pair, _, err := f.consul.KV().Get(key, opts)
	switch {
	case err != nil:
		return now, 0, false, fmt.Errorf("read ticket use: %w", err)
	case pair == nil && at == 0, pair != nil && pair.ModifyIndex == at:
		return now, 0, false, fmt.Errorf("use ticket: consul refused: %s", got.why)
	case pair == nil:
		return now, 0, false, nil
	}
	if json.Unmarshal(pair.Value, &now) != nil {
		now = wire.UsedTicket{} // it is used, nobody can say for which seat
	}
	return now, pair.ModifyIndex, false, nil
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
