package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// slowConsul answers one transaction each time that it is told to.
type slowConsul struct {
	asked chan api.TxnOps
	say   chan error
}

// keys are the keys of the next transaction, which waits for say.
func (c *slowConsul) keys(t *testing.T) (keys []string) {
	t.Helper()
	select {
	case ops := <-c.asked:
		for _, op := range ops {
			keys = append(keys, op.KV.Key)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no transaction came")
	}
	return keys
}

func newSlowConsul(t *testing.T) (*slowConsul, *ticketWrites) {
	c := &slowConsul{asked: make(chan api.TxnOps), say: make(chan error)}
	gone := t.Context().Done()
	return c, &ticketWrites{txn: func(_ context.Context, ops api.TxnOps) (bool, *api.TxnResponse, error) {
		resp := &api.TxnResponse{}
		for i, op := range ops {
			if op.KV.Index != 0 {
				resp.Errors = append(resp.Errors, &api.TxnError{OpIndex: i, What: "stale"})
			}
			resp.Results = append(resp.Results, &api.TxnResult{KV: &api.KVPair{Key: op.KV.Key, ModifyIndex: 7}})
		}
		select {
		case c.asked <- ops:
		case <-gone:
			return false, nil, errors.New("the test has ended")
		}
		return len(resp.Errors) == 0, resp, <-c.say
	}}
}

// wait returns once n records wait for the next transaction.
func (w *ticketWrites) wait(t *testing.T, n int) {
	t.Helper()
	testkit.UntilSeen(t, "records wait for the next transaction", func() (any, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiting), len(w.waiting) == n
	})
}

func TestTicketsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	c, w := newSlowConsul(t)
	got := map[string]ticketWritten{}
	var mu sync.Mutex
	var all sync.WaitGroup
	write := func(ctx context.Context, name, key string, at uint64) {
		all.Go(func() {
			now := w.write(ctx, key, nil, at)
			mu.Lock()
			got[name] = now
			mu.Unlock()
		})
	}
	write(t.Context(), "first", "a", 0)
	if keys := c.keys(t); !slices.Equal(keys, []string{"a"}) {
		t.Fatalf("the first waits for others: %v", keys)
	}
	left, leave := context.WithCancel(t.Context())
	for i, who := range []struct {
		name, key string
		at        uint64
	}{{"good", "b", 0}, {"stale", "c", 3}, {"same key", "b", 0}, {"other", "d", 0}, {"gone", "e", 0}} {
		ctx := t.Context()
		if who.name == "gone" {
			ctx = left
		}
		write(ctx, who.name, who.key, who.at)
		w.wait(t, i+1)
	}
	leave()
	c.say <- nil
	for _, want := range [][]string{{"b", "c", "d"}, {"b", "d"}, {"b"}} {
		if keys := c.keys(t); !slices.Equal(keys, want) {
			t.Fatalf("a transaction has %v, want %v", keys, want)
		}
		c.say <- nil
	}
	all.Wait()
	for name, want := range map[string]ticketWritten{"first": {index: 7}, "good": {index: 7}, "same key": {index: 7}, "other": {index: 7},
		"stale": {refused: true, why: "stale"}, "gone": {err: context.Canceled}} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	w.wait(t, 0)
}

func TestFailedTransactionFailsItsTickets(t *testing.T) {
	t.Parallel()
	c, w := newSlowConsul(t)
	failed := errors.New("no leader")
	first, second := make(chan ticketWritten, 1), make(chan ticketWritten, 1)
	go func() { first <- w.write(t.Context(), "a", nil, 0) }()
	c.keys(t)
	go func() { second <- w.write(t.Context(), "b", nil, 0) }()
	w.wait(t, 1)
	c.say <- failed
	c.keys(t)
	c.say <- nil
	if got := <-first; got.err != failed {
		t.Errorf("the first: %+v, want the error", got)
	}
	if got := <-second; got.err != nil || got.index != 7 {
		t.Errorf("the next transaction suffers from the one before: %+v", got)
	}
}

// More records than a transaction takes, some of which are stale, at a real Consul.
func TestManyTicketsAtOnce(t *testing.T) {
	t.Parallel()
	_, f, ctx := start(t)
	used := func(i int) wire.UsedTicket {
		return wire.UsedTicket{Brain: "b", Seat: fmt.Sprintf("seat-%d", i), Expires: time.Now().Add(time.Hour).UTC()}
	}
	if _, _, written, err := f.UseTicket(ctx, "s-5", used(5), 0); err != nil || !written {
		t.Fatal(written, err)
	}
	var all sync.WaitGroup
	for i := range 4 * writeTogether {
		all.Go(func() {
			now, index, written, err := f.UseTicket(ctx, fmt.Sprintf("s-%d", i), used(i), 0)
			if err != nil || written == (i == 5) || now.Seat != used(i).Seat || index == 0 {
				t.Errorf("ticket %d: %+v at %d, written %v, %v", i, now, index, written, err)
			}
		})
	}
	all.Wait()
}
