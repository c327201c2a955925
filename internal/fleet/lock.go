package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	lockTTL = checkTTL
	// lockDelay keeps a lock free for a moment after its holder was declared
	// dead, so that a holder that only hung has time to notice.
	lockDelay = time.Second
)

// Lock is a lock that is held.
type Lock struct {
	fleet   *Fleet
	key     string
	session string
	lost    chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// Lock waits until it holds key. With an instance, the lock is also released when
// the instance's health check fails: ten seconds after a holder was killed, while
// the session's TTL alone takes Consul up to twenty. It retries after errors; the
// only error that it returns is ctx's.
//
// It is our own and not consul/api's Lock: that one notices a loss only by a
// blocking query on the key. While the agent hangs the query hangs too, and the
// holder is not told that its session's TTL has run out. It also takes no context.
//
//	lock, err := f.Lock(ctx, wire.PoolLock, me)
//	if err != nil { return err }
//	defer lock.Release()
//	select { case <-lock.Lost(): … }
func (f *Fleet) Lock(ctx context.Context, key string, holder *InstanceRegistration) (*Lock, error) {
	for failures := 0; ; {
		l, err := f.tryLock(ctx, key, holder)
		switch {
		case err == nil && l != nil:
			return l, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil: // its holder has just released it: try again
			failures = 0
		default:
			failures++
			if failures == 3 {
				f.log.Warn("taking a lock failed; retrying", "key", key, "error", err)
			}
			if !sleep(ctx, backOff(failures, 3*time.Second)) {
				return nil, ctx.Err()
			}
		}
	}
}

// tryLock takes the lock, or waits for its holder to go and returns nil.
func (f *Fleet) tryLock(ctx context.Context, key string, holder *InstanceRegistration) (*Lock, error) {
	// Look first: a candidate that only waits needs no session.
	if err := f.waitFree(ctx, key, ""); err != nil {
		return nil, err
	}
	entry := &api.SessionEntry{
		Name: key, TTL: lockTTL.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
		NodeChecks: []string{"serfHealth"},
	}
	name := "?"
	if holder != nil {
		name = holder.wanted().id
		entry.ServiceChecks = []api.ServiceCheck{{ID: "service:" + name}}
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	session, _, err := f.consul.Session().Create(entry, f.write(short))
	if err != nil {
		return nil, fmt.Errorf("create lock session: %w", err)
	}
	created := time.Now()
	drop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		f.consul.Session().Destroy(session, f.write(ctx))
	}
	got, _, err := f.consul.KV().Acquire(&api.KVPair{Key: key, Value: []byte(name), Session: session}, f.write(short))
	if err != nil || !got {
		drop()
		if err == nil {
			// Another has it, or the lock delay runs: try a little later.
			sleep(ctx, 250*time.Millisecond)
			return nil, nil
		}
		return nil, fmt.Errorf("acquire %s: %w", key, err)
	}
	hold, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lock{fleet: f, key: key, session: session, lost: make(chan struct{}), stop: stop, done: make(chan struct{})}
	go l.keep(hold, created)
	return l, nil
}

// waitFree blocks until nobody holds key or, with a session, until that session no
// longer holds it.
func (f *Fleet) waitFree(ctx context.Context, key, session string) error {
	var index uint64
	for {
		query, cancel := context.WithTimeout(ctx, watchWait+watchGrace)
		opts := f.query(query)
		opts.WaitIndex, opts.WaitTime = index, watchWait
		pair, meta, err := f.consul.KV().Get(key, opts)
		cancel()
		switch {
		case err != nil:
			return fmt.Errorf("watch lock %s: %w", key, err)
		case pair == nil || pair.Session == "":
			return nil
		case session != "" && pair.Session != session:
			return nil // no longer ours
		}
		if next := meta.LastIndex; next < index {
			index = 0
		} else {
			index = max(next, 1)
		}
	}
}

// Lost is closed when another process holds the lock, or may hold it: stop what it
// guards.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Release gives the lock back, so that another process can take it at once. It
// waits two seconds for Consul at most, and may be called more than once.
func (l *Lock) Release() {
	l.stop()
	<-l.done
}

// keep renews the session and watches the key until the lock is lost or released.
func (l *Lock) keep(ctx context.Context, renewed time.Time) {
	defer close(l.done)
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		// Release first: only to destroy the session would start the lock delay.
		l.fleet.consul.KV().Release(&api.KVPair{Key: l.key, Session: l.session}, l.fleet.write(ctx))
		l.fleet.consul.Session().Destroy(l.session, l.fleet.write(ctx))
	}()
	defer close(l.lost)

	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop()
	taken := make(chan struct{})
	watcher.Go(func() {
		for failures := 1; watching.Err() == nil; failures++ {
			// An error does not mean that it is lost: the renewal decides by the clock.
			if l.fleet.waitFree(watching, l.key, l.session) == nil {
				close(taken)
				return
			}
			sleep(watching, backOff(failures, time.Second))
		}
	})

	tick := time.NewTicker(lockTTL / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-taken:
			l.fleet.log.Warn("lost a lock", "key", l.key)
			return
		case <-tick.C:
		}
		short, cancel := context.WithTimeout(ctx, lockTTL/5)
		entry, _, err := l.fleet.consul.Session().Renew(l.session, l.fleet.write(short))
		cancel()
		switch {
		case err == nil && entry != nil:
			renewed = time.Now()
		case err == nil || errors.Is(err, api.ErrSessionExpired):
			l.fleet.log.Warn("lost a lock: its session expired", "key", l.key)
			return
		case ctx.Err() == nil && time.Since(renewed) > lockTTL*4/5:
			// Consul does not answer. Give up before the TTL can run out.
			l.fleet.log.Warn("gave up a lock: consul does not answer", "key", l.key, "error", err)
			return
		}
	}
}
