package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// writeTogether is how many records one transaction writes at most. Consul takes 128
// operations.
const writeTogether = 64

// txnWithin is how long a transaction may take.
const txnWithin = 3 * time.Second

// ticketWrites writes the records of tickets, one transaction at a time. Those that come while
// one is on its way go together with the next. So nobody waits for others to come, and a crowd
// costs Consul one write for many people.
type ticketWrites struct {
	txn func(context.Context, api.TxnOps) (bool, *api.TxnResponse, error)

	mu      sync.Mutex
	waiting []*ticketWrite // oldest first
	running bool
}

// ticketWrite is a record that is to be written over the one with index at.
type ticketWrite struct {
	ctx   context.Context
	key   string
	value []byte
	at    uint64
	done  chan ticketWritten // has room for one
}

// ticketWritten is what became of it.
type ticketWritten struct {
	index   uint64
	refused bool
	why     string // it was refused, in Consul's words
	err     error  // the outcome is unknown
}

func (f *Fleet) newTicketWrites() *ticketWrites {
	return &ticketWrites{txn: func(ctx context.Context, ops api.TxnOps) (bool, *api.TxnResponse, error) {
		ok, resp, _, err := f.consul.Txn().Txn(ops, f.query(ctx))
		return ok, resp, err
	}}
}

// write returns the index of the record, or why Consul refused it.
func (t *ticketWrites) write(ctx context.Context, key string, value []byte, at uint64) ticketWritten {
	w := &ticketWrite{ctx: ctx, key: key, value: value, at: at, done: make(chan ticketWritten, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	if !t.running {
		t.running = true
		go t.run()
	}
	t.mu.Unlock()
	select {
	case got := <-w.done:
		return got
	case <-ctx.Done():
		return ticketWritten{err: ctx.Err()}
	}
}

// run writes until nobody waits.
func (t *ticketWrites) run() {
	for {
		some := t.next()
		if some == nil {
			return
		}
		t.again(t.commit(some))
	}
}

// next are the records of the next transaction, nil where nobody waits. A key is in it once,
// since an operation would see what another has written.
func (t *ticketWrites) next() (some []*ticketWrite) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := map[string]bool{}
	t.waiting = slices.DeleteFunc(t.waiting, func(w *ticketWrite) bool {
		if w.ctx.Err() != nil {
			return true
		}
		if len(some) == writeTogether || keys[w.key] {
			return false
		}
		keys[w.key] = true
		some = append(some, w)
		return true
	})
	t.running = some != nil
	return some
}

// again puts records back that another one of their transaction has kept from being written.
func (t *ticketWrites) again(some []*ticketWrite) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(some, t.waiting...)
}

// commit writes records, all or none. It returns those that are neither written nor refused:
// others have kept them from it.
func (t *ticketWrites) commit(some []*ticketWrite) (left []*ticketWrite) {
	ops := make(api.TxnOps, len(some))
	for i, w := range some {
		ops[i] = &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: w.key, Value: w.value, Index: w.at}}
	}
	// Not with the context of one of them: it must not end the others' write.
	ctx, cancel := context.WithTimeout(context.Background(), txnWithin)
	defer cancel()
	ok, resp, err := t.txn(ctx, ops)
	switch {
	case err == nil && !ok && len(resp.Errors) == 0:
		err = errors.New("consul refused for no reason")
	case err == nil && ok && (len(resp.Results) != len(some) || slices.ContainsFunc(resp.Results, func(r *api.TxnResult) bool { return r.KV == nil })):
		err = errors.New("consul does not say at which index")
	}
	refused := map[int]string{}
	if err == nil && !ok {
		for _, e := range resp.Errors {
			if e.OpIndex < 0 || e.OpIndex >= len(some) {
				err = fmt.Errorf("consul refused: %s", e.What)
			}
			refused[e.OpIndex] = e.What
		}
	}
	for i, w := range some {
		why, no := refused[i]
		switch {
		case err != nil:
			w.done <- ticketWritten{err: err}
		case ok:
			w.done <- ticketWritten{index: resp.Results[i].KV.ModifyIndex}
		case no:
			w.done <- ticketWritten{refused: true, why: why}
		default:
			left = append(left, w)
		}
	}
	return left
}
